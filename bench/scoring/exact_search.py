"""The nearest candidates of every query as far as single precision can tell, with a bound on how far that is.

A search in single precision proposes candidates. What its rounding leaves open is decided by squared distances in
double precision, and then by index: so neither the library that searched, nor its threads, nor the size of a chunk
shows in a result.
"""

from collections.abc import Iterator
from typing import NamedTuple

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.scoring.geometry import Space

__all__ = ["Proposal", "Settled", "exact_order", "exhaustive", "left_open", "propose"]

EXTRA = 16
"""How many more candidates than asked for are proposed, and one in 64 besides, so that few queries are left open."""
SMALL = 1024
"""Up to this many candidates all are proposed."""


class Proposal(NamedTuple):
    """What the search proposes to some of the queries, nearest first as far as single precision can tell."""

    rows: slice
    """Which queries."""
    found: Tensor
    """[rows, width]: indices of candidates, never the query's own."""
    near: Tensor
    """[rows, width]: their squared distances, ascending, in single precision."""
    slack: Tensor
    """[rows, 1]: as in `Space`."""


def propose(space: Space, *, depth: int, chunk: int) -> Iterator[Proposal]:
    """At least `depth` candidates for each query, or all there are, in pieces of at most `chunk` queries.

    How the queries are cut depends on the device and on how many queries and candidates there are, on nothing else.
    """
    count, on_cpu = len(space.pool), space.pool.device.type == "cpu"
    width = count if count <= SMALL else min(depth + 1 + EXTRA + depth // 64, count)
    batch = max(1, min(chunk, 2**22 // width if on_cpu else 2**26 // count))
    # A search is fastest of many queries; what follows, in a CPU's cache and in steps that torch leaves to one thread:
    # to change between its threads and those of faiss takes longer than the steps.
    piece = max(1, 2**15 // width) if on_cpu else batch
    for start in range(0, len(space.queries), batch):
        near, found = _search(space.wanted[start : start + batch], space.offered, width)
        for first in range(0, len(near), piece):
            some = slice(first, min(first + piece, len(near)))
            yield _proposal(space, slice(start + some.start, start + some.stop), near[some], found[some])


class Settled(NamedTuple):
    """The places [pairs] of a proposal that were in doubt, and what belongs there."""

    row: Tensor
    column: Tensor
    order: Tensor
    """Which of these places the candidate comes from that belongs at each, by exact distance and then index."""
    square: Tensor
    """What `Space.squares` says of the candidate that belongs there."""


def exact_order(space: Space, one: Proposal, doubt: Tensor) -> Settled:
    """What belongs at the places of `one` that are in doubt [rows, width].

    A candidate from which all that are not in doubt differ by more than twice the slack is then in its place, as
    those it is nearer than and those it is farther than are known.
    """
    row, column = doubt.nonzero(as_tuple=True)
    index = one.found[row, column]
    square = space.squares(space.queries[one.rows], row, index)
    order = index.argsort(stable=True)  # by row, then square, then index
    for key in (square, row):
        order = order[key[order].argsort(stable=True)]
    return Settled(row, column, order, square[order])


def left_open(space: Space, one: Proposal, depth: int) -> Tensor:
    """Positions in `one` of the queries to which a candidate not proposed may be among the first `depth`.

    Those proposed at the first `depth` places are at most the slack beyond the last of them, all that were not
    proposed at most the slack below the last proposed.
    """
    if one.near.shape[1] == len(space.pool) - space.alone:
        return torch.zeros(0, dtype=torch.int64, device=one.near.device)
    return (one.near[:, depth - 1] + 2 * one.slack[:, 0] >= one.near[:, -1]).nonzero()[:, 0]


def exhaustive(space: Space, queries: Tensor, depth: int) -> NDArray[np.int64]:
    """The first `depth` candidates [len(queries), depth], in exact order, of queries given by index, among all.

    Ties that a search cannot get to the end of are mostly of equal vectors, so each of these is compared once.
    """
    result = np.empty((len(queries), depth), dtype=np.int64)
    first = torch.from_numpy(space.groups().members[space.groups().start]).to(queries.device)
    step = max(1, 2**22 // len(space.pool))
    for start in range(0, len(queries), step):
        some = queries[start : start + step]
        row, group = _in_reach(space, some, depth).nonzero(as_tuple=True)
        square = space.squares(space.queries[some], row, first[group])
        result[start : start + step] = _nearest_members(space, some, row, group, square, depth)
    return result


def _spans(start: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
    """The `count` whole numbers from each `start` on, one after the other."""
    return np.arange(count.sum()) + np.repeat(start + count - np.cumsum(count), count)


def _in_reach(space: Space, queries: Tensor, depth: int) -> Tensor:
    """Of which groups [queries, G] members may be among the first `depth`."""
    groups, needed = space.groups(), depth + space.alone
    near = _squares_to_all(space.wanted[queries], groups.offered)
    best = near.topk(min(needed, near.shape[1]), largest=False)
    reached = torch.from_numpy(groups.size).to(near.device)[best.indices].cumsum(1) >= needed
    last = best.values.gather(1, (~reached).sum(1, keepdim=True))
    return near <= last + 2 * space.slack[queries]


def _nearest_members(
    space: Space, queries: Tensor, row: Tensor, group: Tensor, square: Tensor, depth: int
) -> NDArray[np.int64]:
    """The nearest `depth` candidates of each query, given the groups in its reach [pairs] and how far these are."""
    own, rows, kept, distance = (values.cpu().numpy() for values in (queries, row, group, square))
    groups = space.groups()
    size = groups.size[kept]
    index = groups.members[_spans(groups.start[kept], size)]
    rows, distance = np.repeat(rows, size), np.repeat(distance, size)
    if space.alone:
        other = index != own[rows]
        rows, distance, index = rows[other], distance[other], index[other]
    begin = np.searchsorted(rows, np.arange(len(own)))
    order = np.lexsort((index, distance, rows))
    return np.asarray(index[order[begin[:, None] + np.arange(depth)]])


def _search(queries: Tensor, pool: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Squared distances [rows, width] to the nearest, ascending, and their indices."""
    if queries.device.type == "cpu":
        near, found = faiss.knn(queries.numpy(), pool.numpy(), width)
        return torch.from_numpy(near), torch.from_numpy(found)
    best = _squares_to_all(queries, pool).topk(width, largest=False)
    return best.values, best.indices


def _squares_to_all(queries: Tensor, pool: Tensor) -> Tensor:
    """Squared distances [rows, N] in single precision."""
    product = torch.addmm(pool.square().sum(1), queries, pool.T, alpha=-2)
    return product.add_(queries.square().sum(1, keepdim=True))


def _proposal(space: Space, rows: slice, near: Tensor, found: Tensor) -> Proposal:
    """Where the queries are each other's candidates, one column less: the own index, or where it is not there the last.

    What is dropped is no nearer than the last that stays, as far as single precision can tell, or of no account.
    """
    if space.alone:
        last = found.shape[1] - 1
        own = torch.arange(rows.start, rows.stop, device=found.device)
        place = torch.full_like(own, last)
        row, column = (found == own[:, None]).nonzero(as_tuple=True)
        place[row] = column
        behind = torch.arange(last, device=own.device) >= place[:, None]
        near = torch.where(behind, near[:, 1:], near[:, :-1])
        found = torch.where(behind, found[:, 1:], found[:, :-1])
    return Proposal(rows, found, near, space.slack[rows])
