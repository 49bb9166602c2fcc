"""The nearest neighbours of every query, found once and in chunks, and what ranking metrics need of them."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Ranking", "blocks", "neighbours", "rank", "rank_order"]

EXTRA = 16
"""How much deeper than asked the search goes, so that rounding and ties at the end can be put right."""
SMALL = 1024
"""Up to this many candidates all are sorted exactly."""
DEEP = 256
"""From this many wanted on, a selection among all distances is faster on a CPU than a search that keeps the best."""


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


def rank(
    queries: Tensor,
    query_labels: NDArray[np.int64],
    *,
    gallery: Tensor | None = None,
    gallery_labels: NDArray[np.int64] | None = None,
    depth: int = 1,
    chunk: int = 4096,
) -> Ranking:
    """Rank the gallery [N, dim], or without one the other queries, for each of the queries [Q, dim].

    By Euclidean distance of the vectors as given; ties by lower index. `depth` is raised to the largest R. Memory is
    that of `chunk` queries at a time plus the result, never Q x N.
    """
    return _ranking(
        lambda deep: blocks(queries, gallery, depth=deep, chunk=chunk), query_labels, gallery_labels, depth=depth
    )


def rank_order(
    order: NDArray[np.integer],
    query_labels: NDArray[np.int64],
    *,
    gallery_labels: NDArray[np.int64] | None = None,
    depth: int = 1,
    chunk: int = 4096,
) -> Ranking:
    """The ranking of an order [Q, length] of candidates, as `neighbours` gives it, for each of the queries.

    As `rank` in all else. Raises ValueError where the order ends before `depth` or the largest R and leaves candidates
    out.
    """

    def cut(deep: int) -> Iterator[tuple[slice, NDArray[np.integer]]]:
        if order.shape[1] < deep:
            raise ValueError(f"an order {order.shape[1]} deep ends before the largest R or K, {deep}: raise its depth.")
        for start in range(0, len(order), chunk):
            rows = slice(start, start + chunk)
            yield rows, order[rows, :deep]

    return _ranking(cut, query_labels, gallery_labels, depth=depth)


def neighbours(queries: Tensor, gallery: Tensor | None = None, *, depth: int, chunk: int = 4096) -> NDArray[np.int64]:
    """Indices [Q, depth] of the nearest of the gallery [N, dim], or of the other queries, nearest first.

    By Euclidean distance of the vectors as given, ties by lower index; fewer columns where there are fewer candidates.
    Among more than SMALL candidates, a tie that goes on for more than EXTRA places past the last column may be cut
    elsewhere.
    """
    return np.concatenate([found for _, found in blocks(queries, gallery, depth=depth, chunk=chunk)])


def blocks(
    queries: Tensor, gallery: Tensor | None = None, *, depth: int, chunk: int = 4096
) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """`neighbours` in pieces of at most `chunk` queries: which rows, and their indices [rows, depth].

    How the rows are cut depends on the device and on how many queries and candidates there are, on nothing else. The
    search proposes; direct differences, which lose no digits, decide the order. So neither the size of a chunk nor the
    number of threads shows in the result.
    """
    queries = queries.detach()
    pool = queries if gallery is None else gallery.detach()
    width = len(pool) if len(pool) <= SMALL else min(depth + 1 + EXTRA, len(pool))
    wanted, offered = _for_search(queries, pool)
    step = max(1, min(chunk, 2**20 // width if queries.device.type == "cpu" else 2**26 // len(pool)))
    for start in range(0, len(queries), step):
        rows = slice(start, min(start + step, len(queries)))
        found = _search(wanted[rows], offered, width)
        own = torch.arange(rows.start, rows.stop, device=found.device) if gallery is None else None
        yield rows, _ordered(queries[rows], pool, found, own)[:, :depth].cpu().numpy()


def _ranking(
    find: Callable[[int], Iterator[tuple[slice, NDArray[np.integer]]]],
    query_labels: NDArray[np.int64],
    gallery_labels: NDArray[np.int64] | None,
    *,
    depth: int,
) -> Ranking:
    """What is relevant of the candidates that `find` gives, in pieces, down to the depth it is told."""
    others = query_labels if gallery_labels is None else gallery_labels
    candidates = len(others) - (gallery_labels is None)
    n_relevant = _count(others, query_labels) - (gallery_labels is None)
    depth = min(max(depth, int(n_relevant.max())), candidates)
    relevant = np.zeros((len(query_labels), depth), dtype=bool)
    for rows, found in find(depth):
        np.equal(others[found], query_labels[rows, None], out=relevant[rows])
    return Ranking(relevant, n_relevant, _first(relevant), candidates)


def _count(labels: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of `labels` equal each of `wanted`."""
    ordered = np.sort(labels)
    return np.searchsorted(ordered, wanted, side="right") - np.searchsorted(ordered, wanted, side="left")


def _first(relevant: NDArray[np.bool_]) -> NDArray[np.int32]:
    if not relevant.shape[1]:
        return np.zeros(len(relevant), dtype=np.int32)
    return np.where(relevant.any(1), relevant.argmax(1) + 1, 0).astype(np.int32)


def _for_search(queries: Tensor, pool: Tensor) -> tuple[Tensor, Tensor]:
    """Both in single precision, moved to the origin where an offset they share would cost the search its digits."""
    mean = pool.mean(0, dtype=torch.float64)
    if mean.square().sum() > 0.9 * pool.square().sum(1).mean(dtype=torch.float64):
        queries, pool = queries - mean, pool - mean
    return queries.float().contiguous(), pool.float().contiguous()


def _search(queries: Tensor, pool: Tensor, width: int) -> Tensor:
    """Indices [rows, width] of the nearest, in no promised order."""
    on_cpu = queries.device.type == "cpu"
    if on_cpu and width < DEEP:
        return torch.from_numpy(faiss.knn(queries.numpy(), pool.numpy(), width)[1])
    square = pool.square().sum(1)
    some = torch.split(queries, max(1, (2**22 if on_cpu else 2**26) // len(pool)))
    found = [torch.addmm(square, one, pool.T, alpha=-2).topk(width, largest=False, sorted=False) for one in some]
    return torch.cat([one.indices for one in found])


def _ordered(queries: Tensor, pool: Tensor, found: Tensor, own: Tensor | None) -> Tensor:
    """The candidates found, by exact distance and then by index; `own` [rows]: the query's own index, taken out."""
    if own is not None:
        missing = (found != own[:, None]).all(1)
        found[missing, -1] = own[missing]
    found = found.sort(1).values
    distance = _distances(queries, pool, found)
    if own is None:
        return found.gather(1, distance.argsort(dim=1, stable=True))
    distance[found == own[:, None]] = -1
    return found.gather(1, distance.argsort(dim=1, stable=True))[:, 1:]


def _distances(queries: Tensor, pool: Tensor, found: Tensor) -> Tensor:
    """Distances [rows, width], summed in double precision, from each query to what it found, a few rows at a time."""
    # On a CPU the differences should stay in its cache, and in one buffer: to allocate them, or to gather them by
    # indexing, takes longer than all the rest, and small results kept between them leave holes in the heap, gigabytes.
    width, dim = found.shape[1], queries.shape[1]
    step = max(1, (2**17 if queries.device.type == "cpu" else 2**25) // (width * dim))
    buffer = pool.new_empty((min(step, len(queries)) * width, dim))
    distance = torch.empty(found.shape, dtype=torch.float64, device=queries.device)
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        chosen = found[rows].flatten()
        near = torch.index_select(pool, 0, chosen, out=buffer[: len(chosen)]).view(-1, width, dim)
        torch.linalg.vector_norm(near.sub_(queries[rows, None]), dim=2, dtype=torch.float64, out=distance[rows])
    return distance
