"""What the queries of each test class score in sum, from the stored queries of a line's jobs."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.analysis.differences import Method
from bench.matrix.job import ConfigError
from bench.stats.class_variance import class_sums
from bench.stats.estimate import Numbers
from bench.store import read_queries
from bench.store.queries import Queries

__all__ = ["ClassScores", "class_scores", "with_class_sums"]

ROUNDING = 1e-5
"""How far the mean over the stored queries may be from the stored score, for both to be the same."""

ClassScores = tuple[Numbers, Numbers]
"""Sums [S, C] over the queries of each class, and the queries [C] of each."""


def with_class_sums(
    methods: Sequence[Method], stored: Sequence[tuple[Path, Sequence[str]]], metric: str
) -> tuple[list[Method], Numbers | None]:
    """The methods with their sums per class where these are stored, and the queries per class [C].

    `stored` says for every method where its jobs lie, and their keys by seed; no keys leave it as it is. A method whose
    test set is not that of the first one has no sums.
    """
    found, counts = list(methods), None
    for at, (path, keys) in enumerate(stored):
        one = class_scores(path, keys, metric, methods[at].scores) if keys else None
        if one is None:
            continue
        counts = one[1] if counts is None else counts
        if np.array_equal(one[1], counts):
            found[at] = methods[at]._replace(class_sums=one[0])
    return found, counts


def class_scores(path: Path, keys: Sequence[str], metric: str, scores: Numbers) -> ClassScores | None:
    """Of the jobs `keys`, one per seed; None where classes are not stored, or where they do not give the `scores`.

    Which queries have nothing to find is only looked up where the scores do not come out without it: it costs a read
    of every column.
    """
    found = _sums(path, keys, metric, only=(metric,))
    if found is not None and not _give(found, scores):
        found = _sums(path, keys, metric, only=None)
    return found if found is not None and _give(found, scores) else None


def _give(found: ClassScores, scores: Numbers) -> bool:
    return np.allclose(found[0].sum(axis=1) / found[1].sum(), scores, rtol=0, atol=ROUNDING)


def _sums(path: Path, keys: Sequence[str], metric: str, *, only: Sequence[str] | None) -> ClassScores | None:
    found: list[tuple[Numbers, NDArray[np.int64]]] = []
    for key in keys:
        values = _values(path, key, metric, only)
        if values is None or (found and not np.array_equal(values[1], found[0][1])):
            return None
        found.append(values)
    sums, counts = class_sums(np.array([values for values, _ in found]), found[0][1])
    return sums, counts


def _values(path: Path, key: str, metric: str, only: Sequence[str] | None) -> tuple[Numbers, NDArray[np.int64]] | None:
    """Score and class of every query that is in the mean, as far as the columns read tell."""
    try:
        queries = read_queries(path, key, only=only)
    except FileNotFoundError:
        return None
    except ConfigError as error:
        warnings.warn(f"{error}; its classes are left out", stacklevel=2)
        return None
    values = _by_query(queries, metric)
    if values is None or queries.classes is None:
        return None
    counts = np.isfinite(values)
    for other in queries.values.values():  # NaN where there is nothing to find
        counts &= np.isfinite(other)
    return values[counts], queries.classes[counts]


def _by_query(queries: Queries, metric: str) -> Numbers | None:
    if (recall := re.fullmatch(r"recall_at_(\d+)", metric)) is not None:
        return ((queries.first_hit >= 1) & (queries.first_hit <= int(recall[1]))).astype(np.float64)
    return queries.values.get(metric)
