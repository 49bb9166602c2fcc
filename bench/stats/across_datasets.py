"""One pair over several datasets: where it is better, tied or worse, and the mean difference.

Wilcoxon, Nemenyi and sign tests cannot reach .05 on fewer than six datasets, so none is computed.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bench.stats.estimate import Estimate, Numbers, say
from bench.stats.intervals import Interval, interval

__all__ = ["FEWEST_FOR_RANKS", "AcrossDataSets", "across"]

FEWEST_FOR_RANKS = 6
"""On fewer datasets even a pair that wins on all has two-sided sign-test p > .05 (2 x .5^5 = .0625)."""


class AcrossDataSets(NamedTuple):
    """A pair over K datasets."""

    better: int
    tied: int
    """Not separated on that data set's own board."""
    worse: int
    here: Estimate
    """Mean difference over these datasets, one number: variance the sum of V_k / K^2, Satterthwaite's freedom."""
    new: Interval
    """As a claim about new datasets: Student's t over the datasets. Wide; NaN for one."""


def across(found: Estimate, p: ArrayLike, *, alpha: float = 0.05) -> AcrossDataSets:
    """Puts the differences [K] of one pair on K datasets together; `p` [K] are Holm's, each of its own board."""
    if found.mean.ndim != 1 or not found.mean.size or np.shape(p) != found.mean.shape:
        raise ValueError(f"give one difference and one p per data set, not {found.mean.shape} and {np.shape(p)}.")
    apart = np.asarray(p, np.float64) <= alpha
    better, worse = int((apart & (found.mean > 0)).sum()), int((apart & (found.mean < 0)).sum())
    known = found.mean[np.isfinite(found.mean)]
    new = interval(known) if len(known) else Interval(float("nan"), float("nan"))
    return AcrossDataSets(better, len(apart) - better - worse, worse, _mean(found), new)


def _mean(found: Estimate) -> Estimate:
    parts: Numbers = found.variance / len(found.mean) ** 2
    variance = parts.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = variance**2 / (parts**2 / found.freedom).sum()
    without = next((reason for reason in found.reason if reason), "")
    return Estimate(np.asarray(found.mean.mean()), variance, freedom, say([(without != "", without)], like=variance))
