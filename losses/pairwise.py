"""The matrices of a batch that pair losses share: who is alike, how far apart, and sums over some of them.

Inside `shared()` what several losses need of a batch is worked out once, so what it gives must not be written into.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar, TypeVarTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "References",
    "constant",
    "distances",
    "first_two",
    "log_one_plus_sum",
    "log_sum",
    "mean_of",
    "once",
    "pairs",
    "shared",
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


_Given = TypeVarTuple("_Given")
_Found = TypeVar("_Found")

_known: ContextVar[dict[tuple[object, ...], tuple[Any, tuple[object, ...]]] | None] = ContextVar("_known", default=None)
"""What was worked out so far, and what from: kept, so that no other tensor is taken for one of these."""


def shared() -> AbstractContextManager[None]:
    """Normalised copies, matrices and masks of the very same tensors are worked out once, until the outermost ends.

    A compiled graph needs no such thing: its compiler finds what is worked out twice.
    """
    return nullcontext() if torch.compiler.is_compiling() or _known.get() is not None else _sharing()


@contextmanager
def _sharing() -> Iterator[None]:
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)


def once(work: Callable[[*_Given], _Found], *given: *_Given) -> _Found:
    """What the work gives for the very same objects, inside `shared()` worked out the first time only."""
    known = None if torch.compiler.is_compiling() else _known.get()
    if known is None:
        return work(*given)
    # What was worked out without a graph is of no use to one who needs the graph.
    key = (work, torch.is_grad_enabled(), *map(id, given))
    if key not in known:
        known[key] = work(*given), given
    found: _Found = known[key][0]
    return found


def single(points: Tensor) -> Tensor:
    """Half precision raised to single: a distance is a small difference of numbers that are nearly equal."""
    return once(Tensor.float, points) if points.element_size() < 4 else points


def constant(points: Tensor) -> Tensor:
    """The same numbers, through which no gradient passes."""
    return once(Tensor.detach, points)


def unit(points: Tensor) -> Tensor:
    """L2-normalised rows [B, dim], in single precision or better."""
    return once(F.normalize, single(points))


def distances(points: Tensor, others: Tensor | None = None, *, squared: bool = False) -> Tensor:
    """Euclidean distances [B, R] of points [B, dim] from others [R, dim], or from one another.

    0, with gradient 0, where two agree up to rounding.
    """
    return once(_squared if squared else _rooted, points, points if others is None else others)


def _squared(points: Tensor, others: Tensor) -> Tensor:
    square, same = once(_squares, points, others)
    return square.masked_fill(same, 0)


def _rooted(points: Tensor, others: Tensor) -> Tensor:
    square, same = once(_squares, points, others)
    return square.masked_fill(same, 1).sqrt().masked_fill(same, 0)


def _squares(points: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances [B, R], and a mask [B, R] of those that are nothing but rounding."""
    scale = points.square().sum(1)[:, None] + others.square().sum(1)
    square = torch.sub(scale, once(_products, points, others), alpha=2)
    # Below the rounding of the inner product a distance is noise, and the gradient of its root explodes.
    return square, square <= 8 * torch.finfo(points.dtype).eps * scale


def _products(points: Tensor, others: Tensor) -> Tensor:
    return points @ others.T


def similarities(embeddings: Tensor, references: References | None, *, normalize: bool = True) -> Tensor:
    """Cosine similarities [B, R], or inner products, of a batch with its references, by default itself."""
    scaled = unit if normalize else single
    points = scaled(embeddings)
    return once(_products, points, scaled(references.embeddings) if references else points)


def pairs(labels: Tensor, references: References | None = None) -> tuple[Tensor, Tensor]:
    """Masks [B, R] of the positive pairs, an image with itself left out, and of the negative pairs."""
    if references is None:
        return once(_pairs, labels)
    return once(_pairs_among, labels, references.labels, references.own)


def _pairs(labels: Tensor) -> tuple[Tensor, Tensor]:
    same = labels[:, None] == labels
    return same.clone().fill_diagonal_(False), ~same


def _pairs_among(labels: Tensor, others: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    same = labels[:, None] == others
    return same.scatter(1, own[:, None], False), ~same


def log_one_plus_sum(exponents: Tensor, chosen: Tensor) -> Tensor:
    """log(1 + sum over the chosen of exp), row by row, [M, N] to [M]; 0 for a row with none chosen."""
    exponents = exponents.masked_fill(~chosen, -torch.inf)
    return torch.cat([exponents, exponents.new_zeros(len(exponents), 1)], 1).logsumexp(1)


def log_sum(exponents: Tensor, chosen: Tensor) -> Tensor:
    """log(sum over the chosen of exp), row by row, [M, N] to [M].

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
    return once(_first_two, labels)


def _first_two(labels: Tensor) -> tuple[Tensor, Tensor]:
    same = labels[:, None] == labels
    earlier = same.tril(-1).sum(1)
    second = same & (earlier == 1)
    return second.int().argmax(1), (earlier == 0) & second.any(1)


def softplus(values: Tensor) -> Tensor:
    """log(1 + exp), of any shape."""
    # The usual threshold, from which on a value stands for itself, is 20: too low for double precision.
    return F.softplus(values, threshold=40)
