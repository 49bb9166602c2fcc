"""Objectives made of objectives: a member is a function Shape -> nn.Module, so a member may itself be an ensemble."""

import builtins
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from losses.arguments import checked
from losses.batch_checks import check_embeddings
from losses.members import Members, Weighing
from losses.shape import Shape, Unsuitable

__all__ = ["slices", "sum"]

Member = Callable[[Shape], nn.Module]
Distance = Literal["euclidean", "hyperbolic"]
"""By which embeddings are compared; hyperbolic: points of the Poincaré ball of radius 1, where space curves by -1."""


@checked
def sum(shape: Shape, members: Sequence[Member], *, weights: tuple[float, ...] | None = None) -> nn.Module:
    """Weighted sum of losses on one shared embedding.

    `weights`: one per member, 0 or more, default 1 each. A member of weight 0 is left out altogether, so it costs
    nothing and disturbs nothing. Raises ValueError for weights that do not fit the members or are all 0.
    """
    each = _weights(members, weights)
    kept = [place for place, weight in enumerate(each) if weight > 0]
    if not kept:
        raise ValueError("sum has no member to train: name one, with a weight above 0.")
    parts = Members([members[place](shape) for place in kept], kept)
    return _Sum(parts if len(parts) == 1 else by_cosine(parts, "sum"), [each[place] for place in kept])


@checked
def slices(
    shape: Shape,
    members: Sequence[Member],
    *,
    weights: tuple[float, ...] | None = None,
    readout: Literal["members", "raw"] = "members",
) -> nn.Module:
    """Weighted sum of losses, each on a slice of the embedding of its own.

    The embedding is split as evenly as it goes, the first slices a dimension wider where it does not divide. `weights`:
    one per member, above 0, default 1 each. At test time each slice is read as its member reads it (L2-normalised, for
    a loss), all weigh the same, and the whole has norm 1; with the `readout` "raw" the slices keep their norms, and
    only the whole is normalised, as in RLL-(L,M,H). Raises ValueError for fewer dimensions than members, or weights
    that do not fit.
    """
    each = _weights(members, weights)
    if not members or not all(weight > 0 for weight in each):
        raise ValueError("slices trains a slice for every member: name one or more, each with a weight above 0.")
    sizes = widths(shape.dim, len(members))
    parts = [member(shape._replace(dim=dim)) for member, dim in zip(members, sizes, strict=True)]
    return _Slices(by_cosine(Members(parts), "slices"), each, sizes, raw=readout == "raw")


def widths(dim: int, parts: int) -> list[int]:
    """Widths of the slices of an embedding, as even as it goes, the first a dimension wider where it does not divide.

    Raises:
        ValueError: fewer dimensions than slices.
    """
    if dim < parts:
        raise ValueError(
            f"an embedding of {dim} dimensions does not divide into {parts} slices: set recipe.dim={parts} or more."
        )
    width, wider = divmod(dim, parts)
    return [width + (i < wider) for i in range(parts)]


def cut(embeddings: Tensor, widths: Sequence[int]) -> tuple[Tensor, ...]:
    """Slices of these widths, [N, width] each, of embeddings [N, dim].

    Raises:
        ValueError: the widths do not add up to dim.
    """
    check_embeddings(embeddings, dim=builtins.sum(widths))
    return torch.split(embeddings, list(widths), dim=1)


def built(shape: Shape, members: Sequence[Member], name: str) -> Members:
    """Every member of the ensemble `name`, for embeddings of this shape.

    Raises:
        ValueError: there is none.
    """
    if not members:
        raise ValueError(f"{name} has no member to train: name one or more.")
    parts = Members(member(shape) for member in members)
    return parts if len(parts) == 1 else by_cosine(parts, name)


def alone(members: Members) -> nn.Module:
    """The only member there is, as it is: it trains and is read as if it stood in no ensemble."""
    return _Sum(members, [1.0])


def read(objective: nn.Module, embeddings: Tensor) -> Tensor:
    """What is compared at test time: the objective's own readout, or the L2-normalised embeddings."""
    own: Callable[[Tensor], Tensor] | None = getattr(objective, "readout", None)
    return F.normalize(embeddings) if own is None else own(embeddings)


def compared_by(objective: nn.Module) -> Distance:
    """The distance by which what `read` gives is compared: Euclidean, unless the objective states another.

    Raises:
        ValueError: it states one that nobody knows.
    """
    stated: Distance = getattr(objective, "distance", "euclidean")
    if stated not in get_args(Distance):
        known = " or ".join(get_args(Distance))
        raise ValueError(f"distance = {stated!r} is not known: let the objective state {known}.")
    return stated


def by_cosine(members: Members, name: str) -> Members:
    """The members of an ensemble that reads its embeddings by cosine.

    Raises:
        Unsuitable: one of them is read by another distance.
    """
    for stated in map(compared_by, members):
        if stated != "euclidean":
            raise Unsuitable(
                f"{name} compares its embeddings by cosine, and a member by {stated} distance: train it alone."
            )
    return members


def _weights(members: Sequence[Member], weights: Sequence[float] | None) -> list[float]:
    each = [1.0] * len(members) if weights is None else list(weights)
    if len(each) != len(members):
        raise ValueError(f"there are {len(each)} weights for {len(members)} members: give one per member.")
    if not all(0 <= weight < float("inf") for weight in each):
        raise ValueError(f"weights must be finite and not negative: change {each}.")
    return each


def _weighted(losses: Tensor, weights: Sequence[float]) -> Tensor:
    return torch.stack([weight * loss for weight, loss in zip(weights, losses, strict=True)]).sum()


class _Sum(nn.Module):
    def __init__(self, members: Members, weights: Sequence[float]) -> None:
        super().__init__()
        self.members = members
        self.weights = tuple(weights)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return _weighted(self.members(embeddings, labels), self.weights)

    def weighing(self) -> Weighing:
        """The fixed weights."""
        return Weighing(self.weights)

    @property
    def distance(self) -> Distance:
        """Euclidean; that of a member on its own."""
        return compared_by(self.members[0]) if len(self.members) == 1 else "euclidean"

    def readout(self, embeddings: Tensor) -> Tensor:
        """L2-normalised; a member on its own is read as it reads itself, [N, dim]."""
        return read(self.members[0], embeddings) if len(self.members) == 1 else F.normalize(embeddings)


class _Slices(nn.Module):
    def __init__(self, members: Members, weights: Sequence[float], widths: list[int], *, raw: bool) -> None:
        super().__init__()
        self.members = members
        self.weights = tuple(weights)
        self.widths = widths
        self.raw = raw

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return _weighted(self.members(cut(embeddings, self.widths), labels), self.weights)

    def weighing(self) -> Weighing:
        """The fixed weights."""
        return Weighing(self.weights)

    def readout(self, embeddings: Tensor) -> Tensor:
        """Each slice as its member reads it, or as it is, side by side, norm 1: [N, dim]."""
        if self.raw:
            return F.normalize(embeddings)
        parts = cut(embeddings, self.widths)
        return F.normalize(torch.cat([read(m, part) for m, part in zip(self.members, parts, strict=True)], 1))
