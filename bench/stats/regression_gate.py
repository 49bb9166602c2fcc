"""The decision of the regression check: is a fresh run of a small matrix worse than its baseline?

Scores are in [0, 1]. One primary metric; the family is the changed methods and the mean of all; one-sided, with Holm's
correction at .01. Never "worse" from a single fresh seed: one collapsed run in eight would raise false alarms.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from bench.stats.estimate import Estimate, Numbers, Reasons, say
from bench.stats.power import detectable
from bench.stats.ranks import Flags, holm
from bench.stats.score_drop import drops

__all__ = ["ALPHA", "CANNOT_TELL", "LOOKS", "NO_WORSE", "SAME_BITS", "SAME_ORDER", "WEIGHTS", "WORSE", "Gate", "gate"]

ALPHA = 0.01
LOOKS = (1, 3, 5)
"""Fresh seeds at which one looks; the first only sees whether the bits agree."""
WEIGHTS = (0.2, 0.3, 0.5)
"""Each look's share of ALPHA."""
SMALLEST, SMALLEST_MEAN = 0.005, 0.0025
"""A smaller drop of a method, or of the mean of all, is not called worse, however sure."""
TOLERATED, TOLERATED_MEAN = 0.02, 0.005
"""No worse: the one-sided 95 % upper bound of the drop is below."""

SAME_BITS, SAME_ORDER, WORSE, NO_WORSE, CANNOT_TELL = "same bits", "same order", "worse", "no worse", "cannot tell"

ONE_FRESH = "one seed on either side is never enough to call it worse"


class Gate(NamedTuple):
    """One entry per method and a last one for the mean of all: [..., m + 1], but for `paired`."""

    verdict: Reasons
    drop: Numbers
    """Baseline less fresh; 0 where nothing changed."""
    upper: Numbers
    """One-sided 95 % upper bound of the drop."""
    p: Numbers
    """One-sided, corrected by Holm over the family; NaN outside it."""
    seen: Numbers
    """The drop that would be called worse three times in four."""
    reason: Reasons
    """Why it could not be called worse, or why there is no interval, in a sentence."""
    paired: Flags
    """[...]: whether differences per seed were taken."""


def gate(
    baseline: ArrayLike,
    fresh: ArrayLike,
    *,
    shared: tuple[Sequence[int], Sequence[int]] = ((), ()),
    same_bits: ArrayLike = False,
    same_order: ArrayLike = False,
    weight: float = 1.0,
) -> Gate:
    """Verdicts over `baseline` [..., m, Sb] and `fresh` [..., m, Sf] scores of the same m methods, NaN for no score.

    `shared` gives the columns of either side that are the same seeds: their differences per seed are taken where their
    pooled variance is the smaller. `same_bits` and `same_order` [..., m] mark methods whose hashes agree in all fresh
    seeds: nothing changed in them, so they leave the family. `weight` is the look's share of ALPHA.
    """
    before, after = np.asarray(baseline, np.float64), np.asarray(fresh, np.float64)
    if min(before.ndim, after.ndim) < 2 or before.shape[:-1] != after.shape[:-1] or 0 in before.shape + after.shape:
        raise ValueError(
            f"baseline {before.shape} and fresh {after.shape} need the same methods and a seed each: [methods, seeds]."
        )
    bits, order = (np.broadcast_to(np.asarray(mark, bool), before.shape[:-1]) for mark in (same_bits, same_order))
    found, paired = drops(before, after, changed=~(bits | order), shared=shared)
    bits, same = (np.concatenate([mark, mark.all(axis=-1, keepdims=True)], -1) for mark in (bits, bits | order))
    alone = np.minimum(before.shape[-1], after.shape[-1]) < 2
    p = holm(np.where(same, np.nan, found.p_above()))
    worse = (p < ALPHA * weight) & (found.mean >= _limits(found.mean, SMALLEST, SMALLEST_MEAN)) & (not alone)
    upper = found.mean + stdtrit(found.freedom, 0.95) * np.sqrt(found.variance)
    fine = upper < _limits(upper, TOLERATED, TOLERATED_MEAN)
    return Gate(
        say([(bits, SAME_BITS), (same, SAME_ORDER), (worse, WORSE), (fine, NO_WORSE), (True, CANNOT_TELL)], like=p),
        np.where(same, 0.0, found.mean),
        np.where(same, 0.0, upper),
        p,
        _seen(found, p, weight),
        np.where(same, "", np.where(found.reason != "", found.reason, ONE_FRESH if alone else "")).astype(object),
        paired,
    )


def _limits(like: Numbers, method: float, mean: float) -> Numbers:
    """A limit for every method, and another for the last entry, the mean of all."""
    return np.append(np.full(like.shape[-1] - 1, method), mean)


def _seen(found: Estimate, p: Numbers, weight: float) -> Numbers:
    """The detectable drop at the step of Holm's correction that is open after the rejected ones."""
    left = np.maximum(1, (~np.isnan(p)).sum(axis=-1) - (p < ALPHA * weight).sum(axis=-1))[..., None]
    return np.maximum(detectable(found, alpha=2 * ALPHA * weight / left), _limits(p, SMALLEST, SMALLEST_MEAN))
