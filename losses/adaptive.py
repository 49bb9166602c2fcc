"""A classification loss whose margins come from another modality: how far apart the classes' texts are."""

from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn import functional as F

from losses.arguments import checked
from losses.class_softmax import class_weights
from losses.module import Loss
from losses.pairwise import distances, unit
from losses.shape import Shape, Unsuitable
from losses.tuned import Tuned

__all__ = ["adaptive_additive"]

CHUNK = 1024
"""Classes whose distances from all others are held at a time."""


@checked
def adaptive_additive(
    shape: Shape,
    *,
    scale: Annotated[float, Gt(0), Tuned(5, 50, log=True)] = 20.0,
    base: float = 0.0,
    margin_scale: Annotated[float, Ge(0), Tuned(0.02, 0.5, log=True)] = 0.1,
    normalization: Literal["max", "mean", "cosine", "squared"] = "max",
    direction: Literal["distant", "near"] = "distant",
) -> nn.Module:
    """Adaptive additive classification (Fehervari, Macedo, arXiv 2006.14693).

    Cross-entropy of `scale` times the cosine similarities with the proxies, where each other class counts as more
    similar by a margin of its own: `base` + `margin_scale` · D, with D the distance of its text from the own class's.
    `normalization` of D: Euclidean distance by the largest ("max") or by the mean over pairs of classes ("mean"), 1
    minus the cosine ("cosine"), or the squared distance by 4 ("squared", half of that). With `direction` "near", 1 - D
    takes the place of D, so that classes with like texts are pushed apart most (as in arXiv 2005.13826).

    The margins and where they come from are the paper's; its equation was not at hand, so the form, the choices and
    the defaults are inferred. With margin_scale and base 0 this is the normalized softmax, with margin_scale 0 CosFace.

    Trains: one proxy per class.
    Needs: text.
    """
    if shape.text is None:
        raise Unsuitable("adaptive_additive takes its margins from text, and this dataset has none.")
    text = unit(shape.text)
    divisor = _divisor(text, normalization)
    # All margins at once are as many numbers as pairs of classes: too many to keep where classes are many, unless the
    # text vectors, of thousands of n-grams, are more still.
    kept = text.shape[1] >= len(text)
    return Loss(
        shape,
        _adaptive_additive,
        classes=shape.classes,
        proxies=class_weights(shape),
        known=_apart(text, text, normalization) / divisor if kept else text,
        kept=kept,
        divisor=divisor,
        scale=scale,
        base=base,
        margin_scale=margin_scale,
        normalization=normalization,
        direction=direction,
    )


def adaptive_additive_loss(
    embeddings: Tensor,
    labels: Tensor,
    proxies: Tensor,
    apart: Tensor,
    *,
    scale: float = 20.0,
    base: float = 0.0,
    margin_scale: float = 0.1,
    direction: str = "distant",
) -> Tensor:
    """The loss, a scalar, for embeddings [B, dim], labels [B] and proxies [classes, dim].

    `apart` [B, classes]: how far the text of each image's class is from those of all classes, normalised already.
    """
    margins = base + margin_scale * (1 - apart if direction == "near" else apart)
    cosine = unit(embeddings) @ unit(proxies).T
    return F.cross_entropy(scale * (cosine + margins.scatter(1, labels[:, None], 0)), labels)


def text_distances(text: Tensor, normalization: str) -> Tensor:
    """Normalised distances [classes, classes] of the text vectors [classes, text_dim] from one another."""
    vectors = unit(text)
    return _apart(vectors, vectors, normalization) / _divisor(vectors, normalization)


def _adaptive_additive(
    embeddings: Tensor,
    labels: Tensor,
    *,
    proxies: Tensor,
    known: Tensor,
    kept: bool,
    divisor: float,
    normalization: str,
    **settings: Any,
) -> Tensor:
    apart = known[labels] if kept else _apart(known[labels], known, normalization) / divisor
    return adaptive_additive_loss(embeddings, labels, proxies, apart, **settings)


def _apart(text: Tensor, others: Tensor, normalization: str) -> Tensor:
    return distances(text, others, squared=normalization in ("cosine", "squared"))


def _divisor(text: Tensor, normalization: str) -> float:
    """What the distances, or squared distances, of unit vectors are divided by."""
    if normalization in ("cosine", "squared"):
        return 2.0 if normalization == "cosine" else 4.0
    parts = (distances(part, text) for part in torch.split(text, CHUNK))
    if normalization == "max":
        return max(part.max().item() for part in parts) or 1.0
    pairs = len(text) * max(len(text) - 1, 1)
    return sum(part.double().sum().item() for part in parts) / pairs or 1.0
