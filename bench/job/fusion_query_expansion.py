"""Query expansion: a query searches again, as the mean of itself and of what it found first."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Le
from numpy.typing import NDArray

from bench.job.fusion import CELLS, Stored, check_same_images, side_by_side, unit_rows
from bench.scoring.ranking import blocks, neighbours

__all__ = ["query_expansion"]


def query_expansion(
    members: Sequence[Stored],
    *,
    k: Annotated[int, Ge(1)] = 10,
    alpha: Annotated[float, Ge(0), Le(100)] = 3.0,
    depth: Annotated[int, Ge(1)] = 1000,
) -> NDArray[np.int64]:
    """Alpha query expansion: each query searches again with its nearest added (Radenović, Tolias, Chum, TPAMI 2018).

    Every member L2-normalised, all side by side and L2-normalised again, one member alone too. With x the query and
    y_1 ... y_k its nearest candidates, ties by lower index, the search is repeated with

        x' = x + the sum over i of max(x · y_i, 0)^alpha y_i,

    L2-normalised. That is their weighted mean, in which the query has weight 1. With `alpha` = 0 all weigh the same
    (average query expansion). A query of zeros stays zero. The paper's `alpha` is 3; `k` should not be far above the
    number of images per class.

    Only queries are expanded, each on its own, and the candidates stay as they are: also where the queries are each
    other's candidates. There a query is never its own candidate, in neither search. Negative similarities count as 0,
    of which the paper says nothing. No label is used.

    Returns the order [Q, depth] of the second search, ties by lower index; fewer columns where there are fewer
    candidates. Memory is that of the result and of a few queries at a time. Raises ValueError where `concatenate` does.
    """
    check_same_images(members)
    one = side_by_side(members, np.ones(len(members)))
    alone = one.gallery is None
    pool = one.queries if one.gallery is None else one.gallery
    offered = None if alone else torch.tensor(pool)
    expanded = _expanded(one.queries, pool, neighbours(torch.tensor(one.queries), offered, depth=k), alpha)
    order = np.empty((len(expanded), min(depth, len(pool) - alone)), dtype=np.int64)
    # The expanded query is no candidate, and the query that it was is left out of what it finds.
    wanted = order.shape[1] + alone
    for rows, found in blocks(torch.tensor(expanded), torch.tensor(pool), depth=wanted):
        order[rows] = _without(np.arange(len(expanded))[rows], found) if alone else found
    return order


def _expanded(
    queries: NDArray[np.float32], pool: NDArray[np.float32], near: NDArray[np.int64], alpha: float
) -> NDArray[np.float32]:
    """Queries [Q, dim] with their nearest [Q, k] added."""
    expanded = np.empty_like(queries)
    step = max(1, CELLS // max(1, near.shape[1] * queries.shape[1]))
    for start in range(0, len(queries), step):
        some = slice(start, start + step)
        own, found = queries[some].astype(np.float64), pool[near[some]].astype(np.float64)
        weights = np.maximum(np.einsum("qkd,qd->qk", found, own), 0) ** alpha
        grown = unit_rows(own + np.einsum("qk,qkd->qd", weights, found))
        expanded[some] = grown * own.any(axis=1, keepdims=True)
    return expanded


def _without(own: NDArray[np.int64], found: NDArray[np.int64]) -> NDArray[np.int64]:
    """What was found [rows, depth + 1] less the query's own index [rows], or where it is not there, less the last."""
    there = found == own[:, None]
    there[:, -1] |= ~there.any(axis=1)
    left: NDArray[np.int64] = found[~there].reshape(len(found), -1)
    return left
