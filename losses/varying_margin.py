"""Softmax losses whose margin varies: with the norm of an embedding, or with how far the training has come.

Those with a margin that stays as it is are in angular_softmax.py.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.nn import functional as F

from losses.angular_softmax import sine
from losses.arguments import checked
from losses.class_softmax import class_weights
from losses.module import Loss
from losses.pairwise import constant, single, unit
from losses.shape import Shape
from losses.tuned import Tuned

__all__ = ["ada_face", "curricular_face", "mag_face"]

SMALL = 0.001
"""What AdaFace keeps norms, angles and the deviation above, and cosines below 1 by."""
LONGEST = 100
"""As how long AdaFace counts a longer embedding."""


@checked
def ada_face(
    shape: Shape,
    *,
    margin: Annotated[float, Ge(0), Lt(3.14), Tuned(0.1, 0.8)] = 0.4,
    concentration: Annotated[float, Ge(0)] = 0.333,
    scale: Annotated[float, Gt(0), Tuned(8, 128, log=True)] = 64.0,
    momentum: Annotated[float, Gt(0), Le(1)] = 0.01,
) -> nn.Module:
    """AdaFace (Kim, Jain, Liu, CVPR 2022, arXiv 2204.00964).

    Cross-entropy of `scale` times the cosine similarities, where the norm of an embedding, taken for the quality of its
    image, decides on the margin. z is how far the norm is from its running mean, in running standard deviations, times
    `concentration` (h in the paper), cut to -1 to 1. The angle to the own class counts margin · z less than it is, and
    its cosine is then lowered by margin · (1 + z): z = -1 is ArcFace, z = 0 CosFace. z passes no gradient.

    A batch weighs `momentum` in the running numbers, which start at 20 and 100 and move in training only; a single
    image has no deviation and leaves that one as it is. As in the authors' code, not in the paper: norms count as 0.001
    to 100, cosines as -0.999 to 0.999, the own angle stays 0.001 away from 0 and from half a turn, and 0.001 is added
    to the deviation. That code without options has a `momentum` of 1, no memory at all.

    Trains: one weight vector per class.
    """
    return Loss(
        shape,
        _ada_face,
        classes=shape.classes,
        weight=class_weights(shape),
        norms=Running([20.0, 100.0], momentum),
        margin=margin,
        concentration=concentration,
        scale=scale,
    )


@checked
def curricular_face(
    shape: Shape,
    *,
    margin: Annotated[float, Ge(0), Lt(3.14), Tuned(0.1, 0.8)] = 0.5,
    scale: Annotated[float, Gt(0), Tuned(8, 128, log=True)] = 64.0,
    momentum: Annotated[float, Gt(0), Le(1)] = 0.01,
) -> nn.Module:
    """CurricularFace (Huang, Wang, Tai, Liu, Shen, Li, Li, Huang, CVPR 2020, arXiv 2004.00288).

    ArcFace, where another class is hard for an image if its cosine is above that of the own class with the margin. A
    hard cosine c counts as c · (t + c): less than it is early in training, more later on. t is the running mean of the
    own classes' cosines, without margin, in which a batch weighs `momentum`; it starts at 0, moves in training only,
    and passes no gradient. Where the angle and the margin pass half a turn, the own cosine is lowered by
    margin · sin(margin) instead, as in the authors' code and not in the paper; what is hard is not asked of that one.

    Trains: one weight vector per class.
    """
    return Loss(
        shape,
        _curricular_face,
        classes=shape.classes,
        weight=class_weights(shape),
        progress=Running([0.0], momentum),
        margin=margin,
        scale=scale,
    )


@checked
def mag_face(
    shape: Shape,
    *,
    low_margin: Annotated[float, Ge(0), Lt(3.14)] = 0.45,
    high_margin: Annotated[float, Ge(0), Lt(3.14), Tuned(0.5, 1.0)] = 0.8,
    low_norm: Annotated[float, Gt(0)] = 10.0,
    high_norm: Annotated[float, Gt(0)] = 110.0,
    norm_weight: Annotated[float, Ge(0)] = 35.0,
    easy: bool = True,
    scale: Annotated[float, Gt(0), Tuned(8, 128, log=True)] = 64.0,
) -> nn.Module:
    """MagFace (Meng, Zhao, Huang, Zhou, CVPR 2021, arXiv 2103.06627).

    ArcFace, where the margin grows with the norm a of the embedding, from `low_margin` at `low_norm` to `high_margin`
    at `high_norm`; `norm_weight` (lambda_g) weighs the mean of a / high_norm² + 1 / a, which asks for long embeddings.
    Gradients flow through a, but norms count as `low_norm` to `high_norm`, and beyond there is none: where a network's
    embeddings are shorter than the authors', lower these. With `easy`, as the authors train, an image whose own cosine
    is not positive has no margin; without, its cosine is lowered by margin · sin(margin) where angle and margin pass
    half a turn. The authors' `norm_weight` is 35 where they train, and 20 in code without options.

    Trains: one weight vector per class.
    """
    if low_norm >= high_norm or low_margin > high_margin:
        raise ValueError("mag_face: the margin grows with the norm, so each low_ must be below its high_.")
    return Loss(
        shape,
        _mag_face,
        classes=shape.classes,
        weight=class_weights(shape),
        norms=(low_norm, high_norm),
        margins=(low_margin, high_margin),
        norm_weight=norm_weight,
        easy=easy,
        scale=scale,
    )


class Running(nn.Module):
    """Numbers [k] of a batch -> what they were lately, [k]: in training each batch moves these, in evaluation none."""

    value: Tensor

    def __init__(self, start: Sequence[float], momentum: float) -> None:
        """Numbers that begin at `start`, and in which a batch weighs `momentum`."""
        super().__init__()
        self.momentum = momentum
        self.register_buffer("value", torch.tensor(start))

    def forward(self, now: Tensor) -> Tensor:
        """The numbers once those of this batch are in."""
        value = single(self.value).to(now)
        if self.training:
            value = self.momentum * now + (1 - self.momentum) * value
            self.value = value
        return value

    def extra_repr(self) -> str:
        """Its setting."""
        return f"momentum={self.momentum}"


def ada_face_logits(
    embeddings: Tensor,
    labels: Tensor,
    *,
    weight: Tensor,
    norms: Running,
    margin: float,
    concentration: float,
    scale: float,
) -> Tensor:
    """Logits [B, classes] of AdaFace; in training they move `norms`, mean and standard deviation."""
    norm = vector_norm(constant(embeddings), dim=1, keepdim=True).clamp(SMALL, LONGEST)
    deviation = norm.std() if len(norm) > 1 else single(norms.value).to(norm)[1]
    mean, deviation = norms(torch.stack([norm.mean(), deviation])).unbind()
    quality = (concentration * (norm - mean) / (deviation + SMALL)).clamp(-1, 1)
    cosine = (unit(embeddings) @ unit(weight).T).clamp(SMALL - 1, 1 - SMALL)
    angle = (_own(cosine, labels).acos() - margin * quality).clamp(SMALL, math.pi - SMALL)
    return scale * cosine.scatter(1, labels[:, None], angle.cos() - margin * (1 + quality))


def curricular_face_logits(
    embeddings: Tensor, labels: Tensor, *, weight: Tensor, progress: Running, margin: float, scale: float
) -> Tensor:
    """Logits [B, classes] of CurricularFace; in training they move `progress`, the mean cosine of the own class."""
    cosine = (unit(embeddings) @ unit(weight).T).clamp(-1, 1)
    own = _own(cosine, labels)
    t = progress(constant(own).mean(0))
    turned = own * math.cos(margin) - sine(own) * math.sin(margin)
    lowered = torch.where(own > -math.cos(margin), turned, own - margin * math.sin(margin))
    hardened = torch.where(cosine > turned, cosine * (t + cosine), cosine)
    return scale * hardened.scatter(1, labels[:, None], lowered)


def _ada_face(embeddings: Tensor, labels: Tensor, **settings: Any) -> Tensor:
    return F.cross_entropy(ada_face_logits(embeddings, labels, **settings), labels)


def _curricular_face(embeddings: Tensor, labels: Tensor, **settings: Any) -> Tensor:
    return F.cross_entropy(curricular_face_logits(embeddings, labels, **settings), labels)


def _mag_face(
    embeddings: Tensor,
    labels: Tensor,
    *,
    weight: Tensor,
    norms: tuple[float, float],
    margins: tuple[float, float],
    norm_weight: float,
    easy: bool,
    scale: float,
) -> Tensor:
    (shortest, longest), (low, high) = norms, margins
    norm: Tensor = vector_norm(embeddings, dim=1, keepdim=True).clamp(shortest, longest)
    margin = low + (high - low) / (longest - shortest) * (norm - shortest)
    cosine = (unit(embeddings) @ unit(weight).T).clamp(-1, 1)
    own = _own(cosine, labels)
    turned = own * margin.cos() - sine(own) * margin.sin()
    beyond = own if easy else own - margin * margin.sin()
    lowered = torch.where(own > (0 if easy else -margin.cos()), turned, beyond)
    logits = scale * cosine.scatter(1, labels[:, None], lowered)
    return F.cross_entropy(logits, labels) + norm_weight * (norm / longest**2 + 1 / norm).mean()


def _own(cosine: Tensor, labels: Tensor) -> Tensor:
    """That of the own class, [B, 1]."""
    return cosine.gather(1, labels[:, None])
