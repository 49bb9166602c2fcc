"""The second target: new seeds and new test classes. What the choice of test classes adds to a difference.

Cluster-robust variance over classes with Satterthwaite's degrees of freedom, and the interaction of seeds and classes
that both parts count: Cameron, Gelbach and Miller, "Robust Inference With Multiway Clustering", JBES 2011.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bench.stats.difference import Indices
from bench.stats.estimate import Estimate, Numbers, Reasons, say

__all__ = ["ClassPart", "Profiles", "class_part", "class_sums", "crossed", "gain_part", "profiles", "same_models"]

ONE_CLASS = "the test set has one class, which says nothing about new classes"


class Profiles(NamedTuple):
    """How each method's queries are spread over the test classes."""

    excess: Numbers
    """[m, C]: summed score of a class, mean over seeds, less what the class would have at the method's mean score."""
    interaction: Numbers
    """[m]: variance of the mean score that comes from single seeds in single classes; 0 for one seed."""
    queries: float


class ClassPart(NamedTuple):
    """The variance of a difference over new test classes, all [P]."""

    variance: Numbers
    freedom: Numbers
    interaction: Numbers
    """What the variance over seeds counts as well."""
    reason: Reasons
    """Why there is none, in a sentence; empty where there is one."""

    def at(self, indices: Any) -> "ClassPart":
        """The parts of some pairs."""
        return ClassPart(self.variance[indices], self.freedom[indices], self.interaction[indices], self.reason[indices])


def class_sums(values: ArrayLike, classes: ArrayLike, *, count: int | None = None) -> tuple[Numbers, Numbers]:
    """Sums [S, C] over the queries of each class, and queries [C] of each, from values [S, Q] and class numbers [Q].

    `count` is C where the highest class may have no query. Values are a query's score, such as 1 for a first hit.
    """
    table, labels = np.atleast_2d(np.asarray(values, np.float64)), np.asarray(classes)
    if labels.shape != table.shape[1:]:
        raise ValueError(f"values are {table.shape[1:]} queries per seed, but there are {labels.shape} classes.")
    counts = np.bincount(labels, minlength=count or 0).astype(np.float64)
    return np.array([np.bincount(labels, row, len(counts)) for row in table]), counts


def profiles(sums: Sequence[ArrayLike], counts: ArrayLike) -> Profiles:
    """Profiles of methods from their class sums, one [S, C] per method, and the queries per class [C]."""
    n = np.asarray(counts, np.float64)
    tables = [np.asarray(table, np.float64) for table in sums]
    wrong = next((table.shape for table in tables if table.ndim != 2 or table.shape[1:] != n.shape), None)
    if wrong is not None:
        raise ValueError(f"class sums need the shape [seeds, {len(n)} classes], as the counts have, not {wrong}.")
    share = n / n.sum()
    found = [_profile(np.sort(table, axis=0), table, share) for table in tables]
    excess = np.array([one for one, _ in found]).reshape(len(found), len(n))
    return Profiles(excess, np.array([both for _, both in found]), float(n.sum()))


def _profile(ordered: Numbers, table: Numbers, share: Numbers) -> tuple[Numbers, float]:
    """One method's excess [C] and interaction; `ordered` by seed within each class, so that no order shows."""
    seeds, classes = table.shape
    average = ordered.mean(axis=0)
    excess = average - share * average.sum()
    if seeds < 2 or classes < 2:
        return excess, 0.0
    apart = table - average
    left = apart - apart.sum(axis=1, keepdims=True) * share
    squares = np.sort((left**2).sum(axis=1)).sum()
    return excess, float(classes / ((seeds - 1) * (classes - 1)) * squares / seeds)


def class_part(found: Profiles, first: Indices, second: Indices) -> ClassPart:
    """The class part of the difference of each pair, given as indices [P]."""
    both = found.interaction[first] + found.interaction[second]
    squares, fourths = np.empty(len(first)), np.empty(len(first))
    # Row by row: all pairs at once would need a table of pairs x classes.
    for one in np.unique(first):
        rows = np.flatnonzero(first == one)
        apart = (found.excess[one] - found.excess[second[rows]]) ** 2
        squares[rows], fourths[rows] = apart.sum(axis=1), (apart**2).sum(axis=1)
    return _part(squares, fourths, both, found)


def gain_part(found: Profiles) -> ClassPart:
    """The class part where each profile is already that of a difference per seed, [m]."""
    squares = found.excess**2
    return _part(squares.sum(axis=1), (squares**2).sum(axis=1), found.interaction, found)


def _part(squares: Numbers, fourths: Numbers, interaction: Numbers, found: Profiles) -> ClassPart:
    classes = found.excess.shape[1]
    reason = say([(classes < 2, ONE_CLASS)], like=squares)
    if classes < 2:
        nothing = np.full(len(squares), np.nan)
        return ClassPart(nothing, nothing, nothing, reason)
    variance = classes / (classes - 1) * squares / found.queries**2
    spread = np.where(fourths > 0, 3 * squares**2 / np.where(fourths > 0, fourths, 1.0) - 1, classes - 1.0)
    freedom = np.maximum(1.0, np.minimum(classes - 1.0, spread))
    return ClassPart(variance, freedom, interaction / found.queries**2, reason)


def crossed(seed: Estimate, part: ClassPart) -> Estimate:
    """The same differences over new seeds and new classes: both variances less what both of them count, [P].

    Never below either part. NaN where one part is missing, with its reason.
    """
    classes = part.variance
    reason = np.where(seed.reason != "", seed.reason, part.reason)
    if np.isnan(classes).all():
        nothing = np.broadcast_to(np.nan, classes.shape)
        return Estimate(seed.mean, nothing, nothing, reason)
    variance = np.maximum(np.maximum(seed.variance + classes - part.interaction, seed.variance), classes)
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = np.maximum(1.0, variance**2 / (seed.variance**2 / seed.freedom + classes**2 / part.freedom))
    return Estimate(seed.mean, variance, freedom, reason)


def same_models(mean: Numbers, part: ClassPart) -> Estimate:
    """Differences of these trained models over new classes; nothing about new seeds. For one seed each."""
    return Estimate(mean, part.variance, part.freedom, part.reason)
