"""Variances over seeds, shrunk toward what is typical of their board: few seeds each, but many methods.

The model is empirical Bayes with a scaled inverse chi-squared prior: Smyth, "Linear Models and Empirical Bayes Methods
for Assessing Differential Expression in Microarray Experiments", SAGMB 2004. The weight of the prior is fixed instead
of estimated, because a board has too few methods to estimate it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import digamma, fdtrc, zeta

from bench.stats.estimate import Numbers, Reasons, say

__all__ = ["LENDERS", "NEGLIGIBLE", "ODD", "PRIOR_SEEDS", "Shrunk", "shrink", "total"]

PRIOR_SEEDS = 3.0
"""Seeds that the board's typical variance is worth."""
ODD = 0.05
"""A variance this improbably large against the others' is not pulled down."""
NEGLIGIBLE = 1e-18
"""A variance that is rounding: the method does not vary with the seed."""
LENDERS = 3
"""Methods of two seeds or more that a board must have before it lends its variance to a method of one seed."""

FEW_LENDERS = (
    f"it has one seed, and fewer than {LENDERS} other methods of the board have two or more to borrow a variance from"
)
ONE_SEED_OUTSIDE = "it has one seed and borrows no variance, because it is not trained; run a second seed"
NONE_VARIES = "no method of the board varies with the seed, so nothing says how far a new seed would be"
NO_SCORE = "no seed of it has a score"


class Shrunk(NamedTuple):
    """Variances of a single run of each method, all [..., m]."""

    variance: Numbers
    freedom: Numbers
    """Degrees of freedom; infinite for what is not trained and does not vary at all."""
    reason: Reasons


class Typical(NamedTuple):
    """What the methods that make up the prior have in common; [..., 1] but for the last two, which are [..., m]."""

    variance: Numbers
    freedom: Numbers
    methods: Numbers
    others: Numbers
    """The geometric mean variance of the other methods."""
    counts: NDArray[np.bool_]
    """Whether a method is part of the prior."""


def total(values: ArrayLike) -> Numbers:
    """Sums along the last axis, kept, whose bits do not depend on the order of the values."""
    return np.asarray(np.sort(values, axis=-1).sum(axis=-1, keepdims=True))


def shrink(variances: ArrayLike, freedom: ArrayLike, *, outside: ArrayLike = False) -> Shrunk:
    """Variances [..., m] over seeds (ddof 1) with their degrees of freedom (seeds - 1), shrunk over each board of m.

    Freedom 0 (one seed) takes the board's typical variance, freedom -1 means no seed at all. `outside` marks floors and
    lines without training: they neither make the prior nor follow it. A variance of 0 does not make the prior either
    (a logarithm of rounding would drag the others down), but it is pulled up by it.
    """
    v, h, out = np.broadcast_arrays(
        np.asarray(variances, np.float64), np.asarray(freedom, np.float64), np.asarray(outside)
    )
    if v.ndim == 0:
        raise ValueError("variances are shrunk over a board: give one variance per method, not a single number.")
    if (v < 0).any():
        raise ValueError("a variance is below 0; give sample variances.")
    typical = _typical(v, h, counts=(h > 0) & (v > NEGLIGIBLE) & ~out)
    prior = np.minimum(PRIOR_SEEDS, typical.freedom)
    own = np.where(h > 0, v, 0.0)
    seeds = np.maximum(h, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        pulled = (prior * typical.variance + seeds * own) / (prior + seeds)
        improbable = fdtrc(h, typical.freedom - h, own / typical.others) < ODD
    pulled = np.where(typical.counts & (typical.methods > 1) & improbable, np.maximum(own, pulled), pulled)
    degrees = np.where(h > 0, np.minimum(prior + seeds, typical.freedom), prior)
    still = own <= NEGLIGIBLE
    reason = say(
        [
            (h < 0, NO_SCORE),
            (out & (h == 0), ONE_SEED_OUTSIDE),
            (~out & (h == 0) & (typical.methods < LENDERS), FEW_LENDERS),
            (~out & (typical.methods == 0), NONE_VARIES),
        ],
        like=v,
    )
    known = reason == ""
    return Shrunk(
        np.where(known, np.where(out, np.where(still, 0.0, own), pulled), np.nan),
        np.where(known, np.where(out, np.where(still, np.inf, h), degrees), np.nan),
        reason,
    )


def _typical(v: Numbers, h: Numbers, *, counts: NDArray[np.bool_]) -> Typical:
    """The weighted mean of the log variances, each corrected for the bias of its few seeds."""
    degrees = np.where(counts, h, 1.0)
    logs = np.log(np.where(counts, v, 1.0)) - _bias(degrees)
    weight = np.where(counts, 1 / zeta(2, degrees / 2), 0.0)  # 1 / trigamma: the variance of a log variance
    weights, sums = total(weight), total(weight * logs)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.exp(sums / weights + _bias(np.float64(PRIOR_SEEDS)))
        others = np.exp((sums - weight * logs) / (weights - weight))
    return Typical(variance, total(np.where(counts, h, 0.0)), total(counts), others, counts)


def _bias(freedom: ArrayLike) -> Numbers:
    """Expected log of a sample variance whose true value is 1."""
    half = np.asarray(freedom) / 2
    return np.asarray(digamma(half) - np.log(half))
