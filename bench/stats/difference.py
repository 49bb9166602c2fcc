"""Differences between methods over new seeds on this test set, from all seeds that each method has."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.stats.estimate import Estimate, Numbers, Reasons, say
from bench.stats.shrinkage import NEGLIGIBLE, shrink

__all__ = ["NEITHER_VARIES", "Indices", "Methods", "difference", "mean", "methods", "pairs"]

Indices = NDArray[np.intp]

NEITHER_VARIES = "neither varies with the seed, so the difference is exact and has no test"


class Methods(NamedTuple):
    """What its seeds say about each method of a board, all [..., m], in the unit of the scores."""

    mean: Numbers
    seeds: Numbers
    """How many seeds have a score."""
    own: Numbers
    """Sample variance over its own seeds (ddof 1); NaN for fewer than two."""
    variance: Numbers
    """Of a single run, shrunk over the board; wholly the board's where there is one seed."""
    freedom: Numbers
    reason: Reasons
    """Why there is no variance, in a sentence."""


def methods(scores: ArrayLike, *, outside: ArrayLike = False) -> Methods:
    """Means and shrunk variances of `scores` [..., m, S]: m methods of one board, up to S seeds each.

    NaN stands for a seed without a score: it is left out, and `seeds` counts the rest. `outside` [..., m] marks floors
    and lines without training, which stay out of the prior. The order of methods and seeds changes no bit.
    """
    values = np.asarray(scores, np.float64)
    if values.ndim < 2 or 0 in values.shape[-2:]:
        raise ValueError(f"scores need the shape [methods, seeds] with at least one of each, not {values.shape}.")
    if np.isinf(values).any():
        raise ValueError("a score is infinite; give NaN for a seed without a score.")
    ordered = np.sort(values, axis=-1)  # NaN last
    seeds = np.isfinite(ordered).sum(axis=-1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.nansum(ordered, axis=-1) / seeds
        squares = np.nansum((ordered - means[..., None]) ** 2, axis=-1)
        own = np.where(seeds > 1, squares / (seeds - 1), np.nan)
    own = np.where(own <= NEGLIGIBLE, 0.0, own)
    return Methods(means, seeds, own, *shrink(np.nan_to_num(own), seeds - 1, outside=outside))


def pairs(count: int) -> tuple[Indices, Indices]:
    """The first and the second method of all pairs of `count` methods, [P] each, in the order (0, 1), (0, 2), ..."""
    first, second = np.triu_indices(count, 1)
    return first, second


def mean(found: Methods) -> Estimate:
    """Each method's own mean [..., m] over new seeds.

    Also the estimate for pairs that share trained models: give `methods` their differences per seed, one line per pair,
    and the variances are shrunk over the board's gains.
    """
    return Estimate(found.mean, found.variance / np.where(found.seeds > 0, found.seeds, np.nan), *found[-2:])


def difference(found: Methods, first: ArrayLike, second: ArrayLike) -> Estimate:
    """First less second for pairs of methods, given as indices [P]: estimates [..., P].

    Not paired by seed: two losses of the same seed are hardly correlated, and unshared seeds count too. The variances
    of both means add up; the degrees of freedom are the smaller ones.
    """
    one, other = np.asarray(first, np.intp), np.asarray(second, np.intp)
    single = mean(found)
    means = single.mean[..., one] - single.mean[..., other]
    variance = single.variance[..., one] + single.variance[..., other]
    freedom = np.minimum(single.freedom[..., one], single.freedom[..., other])
    lacking = found.reason != ""
    left, right = lacking[..., one], lacking[..., other]
    exact = (variance == 0) & ~left & ~right
    reason = say([(exact, NEITHER_VARIES)], like=means)
    if lacking.any():  # texts of all pairs of a large board are slow, and mostly empty
        reason = np.where(left, found.reason[..., one], np.where(right, found.reason[..., other], reason))
    known = ~(left | right | exact)
    return Estimate(means, np.where(known, variance, np.nan), np.where(known, freedom, np.nan), reason)
