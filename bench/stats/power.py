"""What the seeds at hand can show: the difference they would find, the seeds still needed, how often A beats B.

All by the noncentral t distribution, because the variances are estimates: Johnson and Welch, "Applications of the
Non-Central t-Distribution", Biometrika 1940.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import nctdtrinc, ndtr, stdtrit

from bench.stats.class_variance import ClassPart
from bench.stats.estimate import Estimate, Numbers
from bench.stats.shrinkage import PRIOR_SEEDS

__all__ = ["MOST_SEEDS", "POWER", "SeedsNeeded", "Superior", "classes_exceed", "detectable", "seeds_needed", "superior"]

POWER = 0.8
"""Nominal. Measured, so large a difference is found in 68 to 77 % of boards (2 to 10 seeds): three times in four."""
MOST_SEEDS = 60
"""Above this, needed seeds are not counted but infinite: "more than 60"."""


class Superior(NamedTuple):
    """P(a run of A beats a run of B): estimate and 95 % interval, all of one shape."""

    probability: Numbers
    low: Numbers
    high: Numbers


class SeedsNeeded(NamedTuple):
    """Seeds that each of two methods needs in all, from `low` to `high`; infinite above MOST_SEEDS."""

    low: Numbers
    high: Numbers


def detectable(found: Estimate, *, alpha: ArrayLike = 0.05, power: float = POWER) -> Numbers:
    """The true difference that a two-sided test at `alpha` finds with `power`, given the variances as they are.

    For a pair of a Holm family, `alpha` is that of the family over the number of pairs not yet separated.
    """
    return np.asarray(_reach(found.freedom, alpha, power) * np.sqrt(found.variance))


def _reach(freedom: ArrayLike, alpha: ArrayLike, power: float) -> Numbers:
    """The true difference that is found, in standard errors."""
    f, a = np.broadcast_arrays(np.asarray(freedom, np.float64), np.asarray(alpha, np.float64))
    # Boards share few degrees of freedom, and the inverse is slow: once for each that occurs.
    kinds, place = np.unique(np.stack([f.ravel(), a.ravel()]), axis=1, return_inverse=True)
    return _center(kinds[0], 1 - power, stdtrit(kinds[0], 1 - kinds[1] / 2))[place.ravel()].reshape(f.shape)


def _center(freedom: ArrayLike, share: float, statistic: ArrayLike) -> Numbers:
    """The noncentrality at which P(T <= statistic) is `share`; NaN where an argument is NaN or infinite."""
    f, t = np.broadcast_arrays(np.asarray(freedom, np.float64), np.asarray(statistic, np.float64))
    center = np.full(f.shape, np.nan)
    known = np.isfinite(f) & np.isfinite(t)
    center[known] = nctdtrinc(f[known], share, t[known])
    return center


def superior(found: Estimate, spread: ArrayLike) -> Superior:
    """P(a run of A beats a run of B) from differences; `spread`: variance of the difference of two single runs.

    That is the sum of both methods' run variances, or the run variance of the differences where models are shared.
    """
    runs = np.asarray(spread, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):  # neither varies: certain, or 0 / 0
        ratio, gap = np.sqrt(found.variance / runs), found.mean / np.sqrt(runs)
    low, high = (ndtr(ratio * _center(found.freedom, tail, found.statistic())) for tail in (0.975, 0.025))
    return Superior(np.asarray(ndtr(gap)), np.asarray(low), np.asarray(high))


def seeds_needed(
    found: Estimate, spread: ArrayLike, *, alpha: float = 0.05, power: float = POWER, level: float = 0.8
) -> SeedsNeeded:
    """Seeds of each method until a test at `alpha` finds the difference with `power`, as a range.

    The range holds what the `level` interval of the difference (in standard deviations of two runs, `spread`) would
    need: few seeds say little about how many are needed. The prior goes on adding its degrees of freedom.
    """
    ratio = np.sqrt(found.variance / np.asarray(spread, np.float64))
    size = np.abs(found.statistic())
    close, far = (ratio * _center(found.freedom, tail, size) for tail in ((1 + level) / 2, (1 - level) / 2))
    reach = _reach_by_seeds(alpha, power)
    return SeedsNeeded(_first(reach, far), _first(reach, close))


@lru_cache(maxsize=64)
def _reach_by_seeds(alpha: float, power: float) -> Numbers:
    """The true difference found by 2, 3, ... MOST_SEEDS seeds each, in standard deviations of two runs; falling."""
    counts = np.arange(2, MOST_SEEDS + 1)
    return np.asarray(_reach(PRIOR_SEEDS + counts - 1, alpha, power) / np.sqrt(counts))


def _first(reach: Numbers, gaps: Numbers) -> Numbers:
    """The first number of seeds whose reach is not above the gap; infinite where none is, NaN for a NaN gap."""
    counts = np.append(np.arange(2.0, MOST_SEEDS + 1), np.inf)
    needed = counts[np.searchsorted(-reach, -np.nan_to_num(gaps), side="left")]
    return np.where(np.isnan(gaps), np.nan, needed)


def classes_exceed(
    found: Estimate, part: ClassPart, *, alpha: ArrayLike = 0.05, power: float = POWER
) -> NDArray[np.bool_]:
    """Whether the choice of test classes alone hides the difference on new classes: no number of seeds settles it."""
    alone = np.sqrt(np.maximum(part.variance - part.interaction, 0.0))
    return np.asarray(_reach(part.freedom, alpha, power) * alone > np.abs(found.mean))
