"""k-reciprocal re-ranking: images that are each other's neighbours move up."""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Le
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack
from torch import Tensor

from bench.job.fusion import Stored, check_same_images, side_by_side
from bench.scoring.geometry import exact_squares
from bench.scoring.ranking import neighbours

__all__ = ["k_reciprocal"]

ROWS = 512
"""How many images are encoded or re-ranked at a time."""
GRID = 2.0**40
"""Distances are rounded to its inverse: those that are equal on paper are equal whatever they were made of."""


class Pool(NamedTuple):
    """The candidates [N, dim], and what is known of them whatever the query."""

    points: Tensor
    near: NDArray[np.int64]
    """[N, width]: the nearest other candidates of each."""
    reach: NDArray[np.float64]
    """[N]: squared distance to the k1-th of them; infinite where there are fewer."""
    half: Any
    """csr [N, N], zeros and ones: R(g, k1 / 2) of each."""
    single: Any
    """csr [N, N]: the vectors V of each, not averaged."""
    encoded: Any
    """csr [N, N]: the same, each averaged over its k2."""


def k_reciprocal(
    members: Sequence[Stored],
    *,
    k1: Annotated[int, Ge(1), Le(1000)] = 50,
    k2: Annotated[int, Ge(1), Le(1000)] = 20,
    distance_weight: Annotated[float, Ge(0), Le(1)] = 0.94,
    depth: Annotated[int, Ge(1)] = 1000,
) -> NDArray[np.int64]:
    """k-reciprocal re-ranking of the first `depth` candidates of every query (Zhong, Zheng, Cao, Li, CVPR 2017).

    Every member L2-normalised, all side by side and L2-normalised again, one member alone too. d(p, g) is the squared
    Euclidean distance over the largest that p has to any candidate; N(p, k) are the k nearest candidates of p, ties by
    lower index, and p itself where it is a candidate. The first `depth` of a query p are ordered by

        d*(p, g) = (1 - λ) d_J(p, g) + λ d(p, g), ties by lower index, λ = `distance_weight`: 1 keeps the order;
        d_J(p, g) = 1 - sum_j min(V_p[j], V_g[j]) / sum_j max(V_p[j], V_g[j]);
        V_p[j] = exp(-d(p, j)) for j in R*(p), else 0, then the mean of V over p and its k2 - 1 nearest candidates;
        R*(p) = R(p, k1) and every R(q, k1 / 2), q in R(p, k1), of which at least two thirds are in R(p, k1);
        R(p, k) = those g in N(p, k) for which p is in N(g, k). k1 / 2 is rounded down.

    k1, k2 and λ are not the paper's (20, 6, 0.3), which are for pictures of persons. Departures from the authors' code:
    two thirds are enough, as in the paper, where the code asks for more; V is not scaled to sum 1, as in the paper; in
    a gallery, only the query itself joins the candidates, not all other queries, so that no answer depends on what else
    is asked: of equally near ones it then comes first, V_p and V_g have an entry for every candidate, and the
    candidates' own V do not know the query. Where the queries are each other's candidates, a query is left out of its
    own order alone. Nothing is learned, and no label is used.

    Returns the order [Q, depth], fewer columns where there are fewer candidates. Memory is that of the result and of
    V, some hundred to some thousand numbers per candidate, not Q x N. Raises ValueError where `concatenate` does.
    """
    check_same_images(members)
    one = side_by_side(members, np.ones(len(members)))
    queries, gallery = torch.tensor(one.queries), None if one.gallery is None else torch.tensor(one.gallery)
    wide = max(k1, k2 - 1)
    near = neighbours(queries, gallery, depth=max(depth, wide))
    if gallery is None:
        pool = _pool(queries, near[:, :wide], k1, k2)
    else:
        pool = _pool(gallery, neighbours(gallery, depth=wide), k1, k2)
    order, candidates = near[:, :depth].copy(), pool.points.double().numpy()
    for start in range(0, len(order), ROWS):
        rows = slice(start, start + ROWS)
        farthest = _farthest(queries[rows], pool.points)
        if gallery is None:
            vectors = pool.encoded[rows]
        else:
            own = _encoded(queries[rows], pool, _mutual(queries[rows], near[rows, :k1], pool), farthest)
            vectors = _averaged(own, near[rows, : k2 - 1], pool.single)
        distances = _fast_squares(one.queries[rows], candidates, order[rows]) / farthest[:, None]
        order[rows] = _reordered(order[rows], distances, vectors, pool.encoded, distance_weight)
    return order


def _pool(points: Tensor, near: NDArray[np.int64], k1: int, k2: int) -> Pool:
    """The candidates [N, dim], given the nearest others of each [N, width]."""
    reach = np.full(len(points), np.inf)
    if near.shape[1] >= k1:
        reach = _squares(points, points, near[:, k1 - 1 : k1])[:, 0]
    whole = Pool(points, near, reach, _each_other(near[:, : k1 // 2]), None, None)
    mutual, farthest = _each_other(near[:, :k1]), _farthest(points, points)
    pieces = [slice(start, start + ROWS) for start in range(0, len(points), ROWS)]
    own = vstack([_encoded(points[rows], whole, mutual[rows], farthest[rows]) for rows in pieces], format="csr")
    encoded = vstack([_averaged(own[rows], near[rows, : k2 - 1], own) for rows in pieces], format="csr")
    return whole._replace(single=own, encoded=encoded)


def _rows_of(lists: NDArray[np.int64], columns: int) -> Any:
    """csr [rows, columns] with a one at each index of the lists [rows, width]."""
    starts = np.arange(len(lists) + 1) * lists.shape[1]
    return csr_array((np.ones(lists.size), lists.flatten(), starts), shape=(len(lists), columns))


def _each_other(near: NDArray[np.int64]) -> Any:
    """R(g, k) of candidates with these k nearest others [N, k], each candidate in its own: csr [N, N]."""
    count = len(near)
    own = _rows_of(np.column_stack([np.arange(count), near]), count)
    return csr_array(own.multiply(own.T))


def _mutual(queries: Tensor, near: NDArray[np.int64], pool: Pool) -> Any:
    """R(p, k1) of queries that are no candidates, given their k1 nearest [rows, k1]: csr [rows, N]."""
    found = _rows_of(near, len(pool.points))
    found.data = (_squares(queries, pool.points, near) <= pool.reach[near]).ravel().astype(np.float64)
    found.eliminate_zeros()
    return found


def _encoded(queries: Tensor, pool: Pool, mutual: Any, farthest: NDArray[np.float64]) -> Any:
    """V before it is averaged, of queries with these R(p, k1) (csr [rows, N]): csr [rows, N]."""
    shared = csr_array((mutual @ pool.half.T).multiply(mutual))
    enough = 3 * shared.data >= 2 * np.diff(pool.half.indptr)[shared.indices]
    added = csr_array((enough.astype(np.float64), shared.indices, shared.indptr), shape=shared.shape)
    added.eliminate_zeros()
    found = csr_array(mutual + added @ pool.half)
    found.sort_indices()
    row = np.repeat(np.arange(found.shape[0]), np.diff(found.indptr))
    squares = exact_squares(
        queries, pool.points, torch.from_numpy(row), torch.from_numpy(found.indices.astype(np.int64))
    )
    found.data = np.exp(-squares.numpy() / farthest[row])
    return found


def _averaged(own: Any, near: NDArray[np.int64], every: Any) -> Any:
    """The mean of V over rows of their own (csr [rows, N]) and over the nearest candidates of each [rows, width]."""
    if not near.shape[1]:
        return own
    mean = csr_array((own + _rows_of(near, every.shape[0]) @ every) / (near.shape[1] + 1))
    mean.sort_indices()
    return mean


def _squares(queries: Tensor, points: Tensor, index: NDArray[np.int64]) -> NDArray[np.float64]:
    """Exact squared distances [rows, width] from queries [rows, dim] to the points at [rows, width]."""
    row = torch.arange(len(index)).repeat_interleave(index.shape[1])
    found = exact_squares(queries, points, row, torch.from_numpy(index.ravel()))
    return found.numpy().reshape(index.shape)


def _fast_squares(
    queries: NDArray[np.float32], points: NDArray[np.float64], index: NDArray[np.int64]
) -> NDArray[np.float64]:
    """`_squares`, but for the last digits, which GRID leaves out, and much faster."""
    squares, own = np.empty(index.shape), queries.astype(np.float64)
    lengths = np.square(points).sum(axis=1)
    for row, (query, found) in enumerate(zip(own, index, strict=True)):
        squares[row] = np.square(query).sum() + lengths[found] - 2 * np.einsum("kd,d->k", points[found], query)
    return np.maximum(squares, 0)


def _farthest(queries: Tensor, points: Tensor) -> NDArray[np.float64]:
    """The largest squared distance [rows] of queries to any of the points, both of norm 1 or 0; 1 where it is 0."""
    # Of unit vectors, the farthest from x is the nearest to -x.
    there = points.any(dim=1).nonzero()[:, 0].numpy()
    zero = (~points.any(dim=1)).nonzero()[:1, 0].numpy()
    opposite = there[neighbours(-queries, points[there], depth=1)] if len(there) else np.empty((len(queries), 0), int)
    both = np.column_stack([opposite, np.broadcast_to(zero, (len(queries), len(zero)))])
    largest = _squares(queries, points, both).max(axis=1)
    return np.where(largest > 0, largest, 1.0)


def _reordered(
    order: NDArray[np.int64], distances: NDArray[np.float64], vectors: Any, every: Any, distance_weight: float
) -> NDArray[np.int64]:
    """The candidates [rows, depth] by d*, given d [rows, depth], V of the queries (csr [rows, N]) and of every one."""
    result, dense, sums = np.empty_like(order), np.zeros(every.shape[1]), _sums(every.data, every.indptr)
    for row, (candidates, distance) in enumerate(zip(order, distances, strict=True)):
        own = slice(vectors.indptr[row], vectors.indptr[row + 1])
        dense[vectors.indices[own]] = vectors.data[own]
        theirs = every[candidates]
        shared = _sums(np.minimum(theirs.data, dense[theirs.indices]), theirs.indptr)
        jaccard = 1 - shared / (vectors.data[own].sum() + sums[candidates] - shared)
        final = (1 - distance_weight) * jaccard + distance_weight * distance
        result[row] = candidates[np.lexsort((candidates, np.rint(final * GRID)))]
        dense[vectors.indices[own]] = 0
    return result


def _sums(values: NDArray[np.float64], starts: NDArray[np.integer]) -> NDArray[np.float64]:
    """Of each row of a csr array, none of them empty: every candidate is in its own V."""
    return np.add.reduceat(values, starts[:-1])
