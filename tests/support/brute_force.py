"""Ranking and its scores by the definitions: every candidate of every query, in double precision, in plain loops."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def order(queries: ArrayLike, gallery: ArrayLike | None = None) -> NDArray[np.int64]:
    """[Q, candidates]: the gallery, or all other queries, by distance and then by index."""
    points = np.asarray(queries, np.float64)
    pool = points if gallery is None else np.asarray(gallery, np.float64)
    rows = []
    for query, one in enumerate(points):
        found = np.lexsort((np.arange(len(pool)), ((pool - one) ** 2).sum(1)))
        rows.append(found[found != query] if gallery is None else found)
    return np.array(rows)


def hyperbolic(queries: ArrayLike, gallery: ArrayLike | None = None) -> NDArray[np.longdouble]:
    """[Q, N]: distances in the Poincaré ball of radius 1, by its metric's own formula, as precisely as can be."""
    points = np.asarray(queries, np.longdouble)
    pool = points if gallery is None else np.asarray(gallery, np.longdouble)
    gaps = (1 - (points**2).sum(1))[:, None] * (1 - (pool**2).sum(1))
    return np.arccosh(1 + 2 * np.array([((pool - one) ** 2).sum(1) for one in points]) / gaps)


def hyperbolic_order(queries: ArrayLike, gallery: ArrayLike | None = None) -> NDArray[np.int64]:
    """As `order`, by these distances."""
    found = np.argsort(hyperbolic(queries, gallery), axis=1, kind="stable")
    return np.array([row[row != query] for query, row in enumerate(found)]) if gallery is None else found


def relevant(
    queries: ArrayLike, labels: ArrayLike, gallery: ArrayLike | None = None, gallery_labels: ArrayLike | None = None
) -> NDArray[np.bool_]:
    """[Q, candidates]: is the candidate at this rank of the query's class?"""
    others = np.asarray(labels if gallery_labels is None else gallery_labels)
    return np.asarray(others[order(queries, gallery)] == np.asarray(labels)[:, None])


def values(hits: Sequence[bool], ks: Sequence[int], r: int | None = None) -> dict[str, float]:
    """Every ranking score of one query; R is the number of its hits unless it is given."""
    hits = [bool(hit) for hit in hits]
    r = sum(hits) if r is None else r
    recalls = {f"recall_at_{k}": float(any(hits[:k])) for k in ks}
    if not r:
        return recalls
    precisions = [sum(hits[: k + 1]) / (k + 1) for k in range(min(r, len(hits))) if hits[k]]
    return {**recalls, "map_at_r": sum(precisions) / r, "r_precision": sum(hits[:r]) / r}


def scores(hits: NDArray[np.bool_], ks: Sequence[int]) -> dict[str, Any]:
    """Means over the queries that have something to find."""
    found = [values(row, ks) for row in hits.tolist() if any(row)]
    return {name: sum(one[name] for one in found) / len(found) for name in found[0]} if found else {}
