"""Softmax losses with a margin: the angle of an embedding to the weight vector of its class counts as wider than it is.

Only the own class's column of the logits is touched.
"""

import math
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.nn import functional as F

from losses.matrix import single, unit
from losses.shape import Shape

__all__ = ["arc_face", "cos_face", "large_margin_softmax", "sphere_face", "sub_center_arc_face"]


def arc_face(
    shape: Shape, *, margin: Annotated[float, Ge(0), Lt(3.14)] = 0.5, scale: Annotated[float, Gt(0)] = 64.0
) -> nn.Module:
    """ArcFace (Deng, Guo, Xue, Zafeiriou, CVPR 2019, arXiv 1801.07698).

    Cross-entropy of `scale` times the cosine similarities, where the angle to the own class counts `margin` radians
    more than it is. Where that would pass half a turn, the cosine is lowered by margin · sin(margin) instead, so that
    the loss keeps growing with the angle. (pytorch-metric-learning takes degrees.)

    Trains: one weight vector a class.
    """
    return _AddedMargin(shape, angle=margin, cosine=0.0, scale=scale, sub_centers=1)


def sub_center_arc_face(
    shape: Shape,
    *,
    margin: Annotated[float, Ge(0), Lt(3.14)] = 0.5,
    scale: Annotated[float, Gt(0)] = 64.0,
    sub_centers: Annotated[int, Ge(1)] = 3,
) -> nn.Module:
    """Sub-center ArcFace (Deng, Guo, Liu, Gong, Zafeiriou, ECCV 2020).

    ArcFace, where a class has several weight vectors and its cosine similarity is that of the nearest one, so that
    noisy images of a class may gather at a vector of their own. The authors' second round, without the lesser
    `sub_centers` and the images more than 75 degrees off the main one, is not part of the loss.

    Trains: `sub_centers` weight vectors a class.
    """
    return _AddedMargin(shape, angle=margin, cosine=0.0, scale=scale, sub_centers=sub_centers)


def cos_face(
    shape: Shape, *, margin: Annotated[float, Ge(0), Lt(2)] = 0.35, scale: Annotated[float, Gt(0)] = 64.0
) -> nn.Module:
    """CosFace (Wang, Wang, Zhou, Ji, Gong, Zhou, Li, Liu, CVPR 2018, arXiv 1801.09414).

    Cross-entropy of `scale` times the cosine similarities, where that with the own class is lowered by `margin`.

    Trains: one weight vector a class.
    """
    return _AddedMargin(shape, angle=0.0, cosine=margin, scale=scale, sub_centers=1)


def sphere_face(
    shape: Shape,
    *,
    margin: Annotated[int, Ge(1)] = 4,
    easing: Annotated[float, Ge(0)] = 0.0,
    scale: Annotated[float, Gt(0)] = 1.0,
) -> nn.Module:
    """SphereFace (Liu, Wen, Yu, Li, Raj, Song, CVPR 2017, arXiv 1704.08063).

    Cross-entropy of the products of the embeddings, as given, with the L2-normalised weights, where the angle to the
    own class counts `margin` times: its cosine is replaced by psi, which goes on falling from 1 at angle 0 to
    1 - 2 · margin at half a turn. With `easing` (lambda of the authors, who lower it from 1000 to 5 in the course of
    training, since psi alone is hard to start with) it is replaced by (easing · cosine + psi) / (easing + 1). `scale`
    multiplies the logits, for embeddings that are short.

    Trains: one weight vector a class.
    """
    return _MultipliedAngle(shape, margin, easing, scale, normalize=True)


def large_margin_softmax(
    shape: Shape,
    *,
    margin: Annotated[int, Ge(1)] = 4,
    easing: Annotated[float, Ge(0)] = 0.0,
    scale: Annotated[float, Gt(0)] = 1.0,
) -> nn.Module:
    """Large-margin softmax (Liu, Wen, Yu, Yang, ICML 2016, arXiv 1612.02295).

    As `sphere_face`, which came later, but with the weights as they are: a class with a longer weight vector has larger
    logits. The authors take a `margin` of 2 to 4, and `easing`, lowered during training, where classes are many.

    Trains: one weight vector a class.
    """
    return _MultipliedAngle(shape, margin, easing, scale, normalize=False)


def multiplied(cosine: Tensor, margin: int) -> Tensor:
    """Psi of cosines: (-1)^k cos(margin · angle) - 2k, k = floor(margin · angle / pi), which falls with the angle."""
    below, power = torch.ones_like(cosine), cosine
    for _ in range(margin - 1):  # Chebyshev polynomials: the slope of the arc cosine would be infinite at 1 and -1.
        below, power = power, 2 * cosine * power - below
    turns = (margin / math.pi * cosine.detach().clamp(-1, 1).acos()).floor().clamp(max=margin - 1)
    return (1 - 2 * (turns % 2)) * power - 2 * turns


class _AddedMargin(nn.Module):
    def __init__(self, shape: Shape, *, angle: float, cosine: float, scale: float, sub_centers: int) -> None:
        super().__init__()
        # Row k · classes + c is vector k of class c: the maximum over the vectors of a class then runs along memory.
        self.weight = nn.Parameter(torch.randn(sub_centers * shape.classes, shape.dim) / shape.dim**0.5)
        self.sub_centers = sub_centers
        self.angle = angle
        self.cosine = cosine
        self.scale = scale

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        cosine = unit(embeddings) @ unit(self.weight).T
        if self.sub_centers > 1:
            cosine = cosine.view(len(cosine), self.sub_centers, -1).amax(1)
        own = labels[:, None]
        lowered = self.widened(cosine.gather(1, own)) - self.cosine
        return F.cross_entropy(self.scale * cosine.scatter(1, own, lowered), labels)

    def widened(self, cosine: Tensor) -> Tensor:
        """The cosine of the angle plus the margin."""
        # The slope of the sine is infinite at angle 0 and pi; clamped, it is 0 there.
        sine = (1 - cosine.square()).clamp(min=torch.finfo(cosine.dtype).eps).sqrt()
        turned = cosine * math.cos(self.angle) - sine * math.sin(self.angle)
        lowered = cosine - self.angle * math.sin(self.angle)
        return torch.where(cosine >= -math.cos(self.angle), turned, lowered)


class _MultipliedAngle(nn.Module):
    def __init__(self, shape: Shape, margin: int, easing: float, scale: float, *, normalize: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape.classes, shape.dim) / shape.dim**0.5)
        self.margin = margin
        self.easing = easing
        self.scale = scale
        self.normalize = normalize

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        points = single(embeddings)
        vectors = unit(self.weight) if self.normalize else single(self.weight)
        own = self.widened(points, vectors.index_select(0, labels))
        logits = (points @ vectors.T).scatter(1, labels[:, None], own[:, None])
        return F.cross_entropy(self.scale * logits, labels)

    def widened(self, points: Tensor, vectors: Tensor) -> Tensor:
        """Products of points with the vectors of their classes, the angle between them multiplied."""
        cosine = (unit(points) * unit(vectors)).sum(1)
        eased = (self.easing * cosine + multiplied(cosine, self.margin)) / (self.easing + 1)
        length: Tensor = vector_norm(points, dim=1) * vector_norm(vectors, dim=1)
        return length * eased
