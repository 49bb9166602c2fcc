"""The matrices of a batch that pair losses share: who is alike, how far apart, and sums over some of them."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "References",
    "distances",
    "first_two",
    "log_one_plus_sum",
    "log_sum",
    "mean_of",
    "pairs",
    "similarities",
    "single",
    "softplus",
    "unit",
]


class References(NamedTuple):
    """What the images of a batch are compared with, where that is more than the batch itself."""

    embeddings: Tensor
    """[R, dim], as they come from the model."""
    labels: Tensor
    """[R]."""
    own: Tensor
    """[B]: where among them each image of the batch finds itself."""


def single(points: Tensor) -> Tensor:
    """Half precision raised to single: a distance is a small difference of numbers that are nearly equal."""
    return points.float() if points.element_size() < 4 else points


def unit(points: Tensor) -> Tensor:
    """L2-normalised rows [B, dim], in single precision or better."""
    return F.normalize(single(points))


def distances(points: Tensor, others: Tensor | None = None, *, squared: bool = False) -> Tensor:
    """Euclidean distances [B, R] of points [B, dim] from others [R, dim], or from one another.

    0, with gradient 0, where two agree up to rounding.
    """
    others = points if others is None else others
    scale = points.square().sum(1)[:, None] + others.square().sum(1)
    square = scale - 2 * points @ others.T
    # Below the rounding of the inner product a distance is noise, and the gradient of its root explodes.
    same = square <= 8 * torch.finfo(points.dtype).eps * scale
    if squared:
        return square.masked_fill(same, 0)
    return square.masked_fill(same, 1).sqrt().masked_fill(same, 0)


def similarities(embeddings: Tensor, references: References | None, *, normalize: bool = True) -> Tensor:
    """Cosine similarities [B, R], or inner products, of a batch with its references, by default itself."""
    scaled = unit if normalize else single
    points = scaled(embeddings)
    return points @ (scaled(references.embeddings) if references else points).T


def pairs(labels: Tensor, references: References | None = None) -> tuple[Tensor, Tensor]:
    """Masks [B, R] of the positive pairs, an image with itself left out, and of the negative pairs."""
    if references is None:
        same = labels[:, None] == labels
        return same.clone().fill_diagonal_(False), ~same
    same = labels[:, None] == references.labels
    return same.scatter(1, references.own[:, None], False), ~same


def log_one_plus_sum(exponents: Tensor, chosen: Tensor) -> Tensor:
    """log(1 + sum over the chosen of exp), a row at a time, [M, N] to [M]; 0 for a row with none chosen."""
    exponents = exponents.masked_fill(~chosen, -torch.inf)
    return torch.cat([exponents, exponents.new_zeros(len(exponents), 1)], 1).logsumexp(1)


def log_sum(exponents: Tensor, chosen: Tensor) -> Tensor:
    """log(sum over the chosen of exp), a row at a time, [M, N] to [M].

    A row with none chosen gives about the lowest number of its type, never -inf, with gradient 0.
    """
    return exponents.masked_fill(~chosen, torch.finfo(exponents.dtype).min).logsumexp(1)


def mean_of(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of the chosen values, a scalar; 0, with a graph, where none is chosen."""
    return values.masked_fill(~chosen, 0).sum() / chosen.sum().clamp(min=1)


def first_two(labels: Tensor) -> tuple[Tensor, Tensor]:
    """The first two images of a class, by labels [B] in batch order.

    Which is the second of each image's class [B], and a mask [B] of the first images of the classes that have two.
    """
    same = labels[:, None] == labels
    earlier = same.tril(-1).sum(1)
    second = same & (earlier == 1)
    return second.int().argmax(1), (earlier == 0) & second.any(1)


def softplus(values: Tensor) -> Tensor:
    """log(1 + exp), of any shape."""
    # The usual threshold, from which on a value stands for itself, is 20: too low for double precision.
    return F.softplus(values, threshold=40)
