"""Losses that classify the training classes by cosine similarity with one learned weight vector a class."""

import math
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn import functional as F

from losses.matrix import unit
from losses.shape import Shape

__all__ = ["arc_face", "normalized_softmax"]


def normalized_softmax(shape: Shape, *, temperature: Annotated[float, Gt(0)] = 0.05) -> nn.Module:
    """Normalized softmax (Zhai, Wu, BMVC 2019, arXiv 1811.12649).

    Cross-entropy of the cosine similarities with the class weights, divided by `temperature`.

    Trains: one weight vector a class.
    """
    return _CosineClassifier(shape, 0.0, 1 / temperature)


def arc_face(
    shape: Shape, *, margin: Annotated[float, Ge(0)] = 0.5, scale: Annotated[float, Gt(0)] = 64.0
) -> nn.Module:
    """ArcFace (Deng, Guo, Xue, Zafeiriou, CVPR 2019, arXiv 1801.07698).

    Cross-entropy of `scale` times the cosine similarities, where the angle to the own class counts `margin` radians
    more than it is. Where that would pass half a turn, the cosine is lowered by margin · sin(margin) instead, so that
    the loss keeps growing with the angle.

    Trains: one weight vector a class.
    """
    return _CosineClassifier(shape, margin, scale)


class _CosineClassifier(nn.Module):
    def __init__(self, shape: Shape, margin: float, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape.classes, shape.dim) / shape.dim**0.5)
        self.margin = margin
        self.scale = scale

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        cosine = unit(embeddings) @ unit(self.weight).T
        if self.margin:
            own = F.one_hot(labels, len(self.weight)).bool()
            cosine = torch.where(own, self.widened(cosine), cosine)
        return F.cross_entropy(self.scale * cosine, labels)

    def widened(self, cosine: Tensor) -> Tensor:
        """The cosine of the angle plus the margin."""
        # The slope of the sine is infinite at angle 0 and pi; clamped, it is 0 there.
        sine = (1 - cosine.square()).clamp(min=torch.finfo(cosine.dtype).eps).sqrt()
        turned = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        lowered = cosine - self.margin * math.sin(self.margin)
        return torch.where(cosine >= -math.cos(self.margin), turned, lowered)
