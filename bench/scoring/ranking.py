"""The nearest neighbours of every query, found once and in chunks, and what ranking metrics need of them."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.scoring.exact_search import Proposal, exact_order, exhaustive, left_open, propose
from bench.scoring.geometry import Space, search_space
from losses.ensembles import Distance

__all__ = ["NEAREST", "Nearest", "Ranking", "blocks", "first_hit", "neighbours", "rank", "rank_order"]

NEAREST = 10
"""How many neighbours of each query a ranking keeps."""
CHUNK = 4096
"""Queries at a time."""


class Nearest(NamedTuple):
    """The first ten candidates of every query, or all where there are fewer."""

    indices: NDArray[np.int32]
    """[Q, 10]: rows of the gallery, or of the queries, nearest first."""
    distances: NDArray[np.float32] | None
    """[Q, 10]: their distances, all exact: from the vectors as given, in double precision, then rounded.
    None for an order that came without."""


class Ranking(NamedTuple):
    """For every query its candidates in order of distance, reduced to which of them are relevant."""

    relevant: NDArray[np.bool_]
    """[Q, depth]: is the candidate at this rank of the query's class? depth >= every R and every K asked for."""
    n_relevant: NDArray[np.int64]
    """[Q]: R, the number of candidates of the query's class."""
    first_hit: NDArray[np.int32]
    """[Q]: rank, from 1, of the first relevant candidate; 0 where there is none within depth."""
    candidates: int
    """How many candidates each query has."""
    nearest: Nearest | None = None
    """None where they were not kept."""


def rank(
    queries: Tensor,
    query_labels: NDArray[np.int64],
    *,
    gallery: Tensor | None = None,
    gallery_labels: NDArray[np.int64] | None = None,
    depth: int = 1,
    distance: Distance = "euclidean",
) -> Ranking:
    """Rank the gallery [N, dim], or without one the other queries, for each of the queries [Q, dim].

    By distance of the vectors as given; ties by lower index. `depth` is raised to the largest R. Memory is
    that of `CHUNK` queries at a time plus the result, never Q x N.
    """
    others = query_labels if gallery_labels is None else gallery_labels
    counts, depth, candidates = _extent(query_labels, gallery_labels, depth)
    kept = min(NEAREST, candidates)
    relevant = np.zeros((len(query_labels), depth), dtype=bool)
    indices = np.empty((len(query_labels), kept), dtype=np.int32)
    distances = np.empty((len(query_labels), kept), dtype=np.float32)
    space = search_space(queries, gallery, distance=distance)
    pool = torch.from_numpy(others).to(queries.device)
    for one in propose(space, depth=max(depth, kept), chunk=CHUNK):
        squares = _settle(space, one, _mixed(one, pool, query_labels) | _ahead(one, kept))
        found, left = _first_of_all(space, one, max(depth, kept))
        np.equal(others[found[:, :depth]], query_labels[one.rows, None], out=relevant[one.rows])
        indices[one.rows] = found[:, :kept]
        exact = squares[:, :kept].cpu().numpy()
        exact[left] = _squares(space, one, left, found[left, :kept])
        distances[one.rows] = space.distances(one.rows, exact)
    return Ranking(relevant, counts, first_hit(relevant), candidates, Nearest(indices, distances))


def rank_order(
    order: NDArray[np.integer],
    query_labels: NDArray[np.int64],
    *,
    gallery_labels: NDArray[np.int64] | None = None,
    depth: int = 1,
) -> Ranking:
    """The ranking of an order [Q, length] of candidates, as `neighbours` gives it, for each of the queries.

    As `rank` in all else. Raises ValueError where the order ends before `depth` or the largest R and leaves candidates
    out.
    """
    others = query_labels if gallery_labels is None else gallery_labels
    counts, depth, candidates = _extent(query_labels, gallery_labels, depth)
    if order.shape[1] < depth:
        raise ValueError(f"an order {order.shape[1]} deep ends before the largest R or K, {depth}: raise its depth.")
    relevant = np.zeros((len(query_labels), depth), dtype=bool)
    for start in range(0, len(order), CHUNK):
        rows = slice(start, start + CHUNK)
        np.equal(others[order[rows, :depth]], query_labels[rows, None], out=relevant[rows])
    kept = Nearest(order[:, :NEAREST].astype(np.int32), None)
    return Ranking(relevant, counts, first_hit(relevant), candidates, kept)


def neighbours(
    queries: Tensor,
    gallery: Tensor | None = None,
    *,
    depth: int,
    chunk: int = CHUNK,
    distance: Distance = "euclidean",
) -> NDArray[np.int64]:
    """Indices [Q, depth] of the nearest of the gallery [N, dim], or of the other queries, nearest first.

    By distance of the vectors as given, ties by lower index; fewer columns where there are fewer candidates.
    """
    return np.concatenate([found for _, found in blocks(queries, gallery, depth=depth, chunk=chunk, distance=distance)])


def blocks(
    queries: Tensor,
    gallery: Tensor | None = None,
    *,
    depth: int,
    chunk: int = CHUNK,
    distance: Distance = "euclidean",
) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """`neighbours` in pieces of at most `chunk` queries: which rows, and their indices [rows, depth].

    How the rows are cut depends on the device and on how many queries and candidates there are, on nothing else.
    """
    space = search_space(queries, gallery, distance=distance)
    for one in propose(space, depth=depth, chunk=chunk):
        close = one.near[:, 1:] - one.near[:, :-1] <= 2 * one.slack
        doubt = torch.zeros_like(one.found, dtype=torch.bool)
        doubt[:, 1:] |= close
        doubt[:, :-1] |= close
        _settle(space, one, doubt)
        yield one.rows, _first_of_all(space, one, depth)[0]


def _extent(
    query_labels: NDArray[np.int64], gallery_labels: NDArray[np.int64] | None, depth: int
) -> tuple[NDArray[np.int64], int, int]:
    """R of every query, the depth of a ranking that reaches the largest R, and the number of candidates."""
    others = query_labels if gallery_labels is None else gallery_labels
    candidates = len(others) - (gallery_labels is None)
    counts = np.subtract(*_places(np.sort(others), query_labels)) - (gallery_labels is None)
    return counts, min(max(depth, int(counts.max())), candidates), candidates


def _places(ordered: NDArray[np.int64], wanted: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Past the last of `ordered` that equals each of `wanted`, and the first."""
    return np.searchsorted(ordered, wanted, side="right"), np.searchsorted(ordered, wanted, side="left")


def first_hit(relevant: NDArray[np.bool_]) -> NDArray[np.int32]:
    """[Q]: rank, from 1, of the first that is relevant [Q, depth]; 0 where none is."""
    if not relevant.shape[1]:
        return np.zeros(len(relevant), dtype=np.int32)
    return np.where(relevant.any(1), relevant.argmax(1) + 1, 0).astype(np.int32)


def _settle(space: Space, one: Proposal, doubt: Tensor) -> Tensor:
    """Put what is in doubt [rows, width] in order; returns exact squared distances [rows, width], set there alone."""
    row, column, order, square = exact_order(space, one, doubt)
    one.found[row, column] = one.found[row, column][order]
    squares = torch.empty(one.near.shape, dtype=torch.float64, device=square.device)
    squares[row, column] = square
    return squares


def _first_of_all(space: Space, one: Proposal, depth: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first `depth` candidates [rows, depth] of an ordered proposal, and for which rows all had to be compared."""
    found = one.found[:, :depth].cpu().numpy()
    left = left_open(space, one, depth)
    place = left.cpu().numpy()
    if len(left):
        found[place] = exhaustive(space, left + one.rows.start, depth)
    return found, place


def _squares(space: Space, one: Proposal, rows: NDArray[np.int64], found: NDArray[np.int64]) -> NDArray[np.float64]:
    """What `Space.squares` says of some of the rows of a proposal and the candidates found [rows, kept]."""
    pairs = rows.repeat(found.shape[1]), found.ravel()
    row, index = (torch.from_numpy(values).to(space.queries.device) for values in pairs)
    square: NDArray[np.float64] = space.squares(space.queries[one.rows], row, index).cpu().numpy()
    return square.reshape(found.shape)


def _ahead(one: Proposal, kept: int) -> Tensor:
    """The columns that single precision cannot tell from the first `kept`."""
    return one.near <= one.near[:, kept - 1 : kept] + 2 * one.slack


def _mixed(one: Proposal, pool: Tensor, labels: NDArray[np.int64]) -> Tensor:
    """The columns that single precision cannot tell from a relevant one, where any of them is not relevant.

    The order of those that are not relevant among each other does not matter, nor that of those that are.
    """
    # Indexing in any other way is shared among threads at any size.
    found = pool.index_select(0, one.found.flatten()).view(one.found.shape)
    relevant = found == torch.from_numpy(labels[one.rows]).to(pool.device)[:, None]
    before = torch.where(relevant, one.near, -math.inf).cummax(1).values
    behind = torch.where(relevant, one.near, math.inf).flip(1).cummin(1).values.flip(1)
    doubt = torch.minimum(one.near - before, behind - one.near) <= 2 * one.slack
    return doubt & (doubt & ~relevant).any(1, keepdim=True)
