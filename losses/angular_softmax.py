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

from losses.arguments import checked
from losses.class_softmax import class_weights
from losses.module import Loss
from losses.pairwise import unit
from losses.shape import Shape
from losses.tuned import Tuned

__all__ = ["arc_face", "cos_face", "large_margin_softmax", "sphere_face", "sub_center_arc_face"]


@checked
def arc_face(
    shape: Shape,
    *,
    margin: Annotated[float, Ge(0), Lt(3.14), Tuned(0.1, 0.8)] = 0.5,
    scale: Annotated[float, Gt(0), Tuned(8, 128, log=True)] = 64.0,
) -> nn.Module:
    """ArcFace (Deng, Guo, Xue, Zafeiriou, CVPR 2019, arXiv 1801.07698).

    Cross-entropy of `scale` times the cosine similarities, where the angle to the own class counts `margin` radians
    more than it is. Where that would pass half a turn, the cosine is lowered by margin · sin(margin) instead, so that
    the loss keeps growing with the angle. (pytorch-metric-learning takes degrees.)

    Trains: one weight vector per class.
    """
    return Loss(shape, _arc_face, classes=shape.classes, weight=class_weights(shape), margin=margin, scale=scale)


@checked
def sub_center_arc_face(
    shape: Shape,
    *,
    margin: Annotated[float, Ge(0), Lt(3.14), Tuned(0.1, 0.8)] = 0.5,
    scale: Annotated[float, Gt(0), Tuned(8, 128, log=True)] = 64.0,
    sub_centers: Annotated[int, Ge(1)] = 3,
) -> nn.Module:
    """Sub-center ArcFace (Deng, Guo, Liu, Gong, Zafeiriou, ECCV 2020).

    ArcFace, where a class has several weight vectors and its cosine similarity is that of the nearest one, so that
    noisy images of a class may gather at a vector of their own. The authors' second round, without the lesser
    `sub_centers` and the images more than 75 degrees off the main one, is not part of the loss.

    Trains: `sub_centers` weight vectors per class.
    """
    return Loss(
        shape,
        _sub_center_arc_face,
        classes=shape.classes,
        weight=class_weights(shape, sub_centers),
        margin=margin,
        scale=scale,
        sub_centers=sub_centers,
    )


@checked
def cos_face(
    shape: Shape,
    *,
    margin: Annotated[float, Ge(0), Lt(2), Tuned(0.05, 0.6)] = 0.35,
    scale: Annotated[float, Gt(0), Tuned(8, 128, log=True)] = 64.0,
) -> nn.Module:
    """CosFace (Wang, Wang, Zhou, Ji, Gong, Zhou, Li, Liu, CVPR 2018, arXiv 1801.09414).

    Cross-entropy of `scale` times the cosine similarities, where that with the own class is lowered by `margin`.

    Trains: one weight vector per class.
    """
    return Loss(shape, _cos_face, classes=shape.classes, weight=class_weights(shape), margin=margin, scale=scale)


@checked
def sphere_face(
    shape: Shape,
    *,
    margin: Annotated[int, Ge(1), Tuned(1, 4)] = 4,
    easing: Annotated[float, Ge(0)] = 0.0,
    scale: Annotated[float, Gt(0), Tuned(1, 32, log=True)] = 1.0,
) -> nn.Module:
    """SphereFace (Liu, Wen, Yu, Li, Raj, Song, CVPR 2017, arXiv 1704.08063).

    Cross-entropy of the products of the embeddings, as given, with the L2-normalised weights, where the angle to the
    own class counts `margin` times: its cosine is replaced by psi, which goes on falling from 1 at angle 0 to
    1 - 2 · margin at half a turn. With `easing` (lambda of the authors, who lower it from 1000 to 5 in the course of
    training, since psi alone is hard to start with) it is replaced by (easing · cosine + psi) / (easing + 1). `scale`
    multiplies the logits, for embeddings that are short.

    Trains: one weight vector per class.
    """
    settings = {"margin": margin, "easing": easing, "scale": scale}
    return Loss(shape, _sphere_face, classes=shape.classes, weight=class_weights(shape), **settings)


@checked
def large_margin_softmax(
    shape: Shape,
    *,
    margin: Annotated[int, Ge(1), Tuned(1, 4)] = 4,
    easing: Annotated[float, Ge(0)] = 0.0,
    scale: Annotated[float, Gt(0)] = 1.0,
) -> nn.Module:
    """Large-margin softmax (Liu, Wen, Yu, Yang, ICML 2016, arXiv 1612.02295).

    As `sphere_face`, which came later, but with the weights as they are: a class with a longer weight vector has larger
    logits. The authors take a `margin` of 2 to 4, and `easing`, lowered during training, where classes are many.

    Trains: one weight vector per class.
    """
    settings = {"margin": margin, "easing": easing, "scale": scale}
    return Loss(shape, _large_margin_softmax, classes=shape.classes, weight=class_weights(shape), **settings)


def multiplied(cosine: Tensor, margin: int) -> Tensor:
    """Psi of cosines: (-1)^k cos(margin · angle) - 2k, k = floor(margin · angle / pi), which falls with the angle."""
    below, power = torch.ones_like(cosine), cosine
    for _ in range(margin - 1):  # Chebyshev polynomials: the slope of the arc cosine would be infinite at 1 and -1.
        below, power = power, 2 * cosine * power - below
    turns = (margin / math.pi * cosine.detach().clamp(-1, 1).acos()).floor().clamp(max=margin - 1)
    return (1 - 2 * (turns % 2)) * power - 2 * turns


def sine(cosine: Tensor) -> Tensor:
    """The sine of angles from 0 to pi, by their cosines."""
    # Its slope is infinite at angle 0 and pi; clamped, it is 0 there.
    return (1 - cosine.square()).clamp(min=torch.finfo(cosine.dtype).eps).sqrt()


def _arc_face(embeddings: Tensor, labels: Tensor, *, weight: Tensor, margin: float, scale: float) -> Tensor:
    cosine = unit(embeddings) @ unit(weight).T
    return _cross_entropy(cosine, _widened(_own(cosine, labels), margin), labels, scale)


def _sub_center_arc_face(
    embeddings: Tensor, labels: Tensor, *, weight: Tensor, margin: float, scale: float, sub_centers: int
) -> Tensor:
    cosine = (unit(embeddings) @ unit(weight).T).view(len(embeddings), sub_centers, -1).amax(1)
    return _cross_entropy(cosine, _widened(_own(cosine, labels), margin), labels, scale)


def _cos_face(embeddings: Tensor, labels: Tensor, *, weight: Tensor, margin: float, scale: float) -> Tensor:
    cosine = unit(embeddings) @ unit(weight).T
    return _cross_entropy(cosine, _own(cosine, labels) - margin, labels, scale)


def _sphere_face(
    embeddings: Tensor, labels: Tensor, *, weight: Tensor, margin: int, easing: float, scale: float
) -> Tensor:
    return _large_margin_softmax(embeddings, labels, weight=unit(weight), margin=margin, easing=easing, scale=scale)


def _large_margin_softmax(
    embeddings: Tensor, labels: Tensor, *, weight: Tensor, margin: int, easing: float, scale: float
) -> Tensor:
    vectors = weight.index_select(0, labels)
    cosine = (unit(embeddings) * unit(vectors)).sum(1)
    eased = (easing * cosine + multiplied(cosine, margin)) / (easing + 1)
    length: Tensor = vector_norm(embeddings, dim=1) * vector_norm(vectors, dim=1)
    return _cross_entropy(embeddings @ weight.T, (length * eased)[:, None], labels, scale)


def _own(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.gather(1, labels[:, None])


def _widened(cosine: Tensor, margin: float) -> Tensor:
    """The cosine of the angle plus the margin."""
    turned = cosine * math.cos(margin) - sine(cosine) * math.sin(margin)
    lowered = cosine - margin * math.sin(margin)
    return torch.where(cosine >= -math.cos(margin), turned, lowered)


def _cross_entropy(logits: Tensor, own: Tensor, labels: Tensor, scale: float) -> Tensor:
    """Of the scaled logits [B, classes], where that of the own class is replaced by `own` [B, 1]."""
    return F.cross_entropy(scale * logits.scatter(1, labels[:, None], own), labels)
