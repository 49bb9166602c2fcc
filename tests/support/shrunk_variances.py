"""Variances over seeds shrunk over a board, one number at a time: an oracle for intervals."""

import math
from collections.abc import Sequence

from scipy import special
from scipy import stats as oracle

PRIOR = 3


def shrunk(values: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """Variance of a single run and its degrees of freedom, for each method of a board from the scores of its seeds."""
    own = [float(oracle.tvar(list(scores))) for scores in values]
    freedom = [len(scores) - 1 for scores in values]
    weights = [1 / special.polygamma(1, h / 2) for h in freedom]
    logs = [math.log(v) - _bias(h) for v, h in zip(own, freedom, strict=True)]
    typical = math.exp(_mean(logs, weights) + _bias(PRIOR))
    found = []
    for at, (v, h) in enumerate(zip(own, freedom, strict=True)):
        pulled = (PRIOR * typical + h * v) / (PRIOR + h)
        rest = [other for other in range(len(own)) if other != at]
        if rest:
            others = math.exp(_mean([logs[one] for one in rest], [weights[one] for one in rest]))
            odd = oracle.f.sf(v / others, h, sum(freedom[one] for one in rest)) < 0.05
            pulled = max(v, pulled) if odd else pulled
        found.append((pulled, min(PRIOR + h, sum(freedom))))
    return found


def interval(mean: float, variance: float, freedom: float) -> tuple[float, float]:
    """The 95 % interval of an estimate with this variance."""
    low, high = oracle.t.interval(0.95, df=freedom, loc=mean, scale=math.sqrt(variance))
    return float(low), float(high)


def _bias(freedom: float) -> float:
    return float(special.digamma(freedom / 2)) - math.log(freedom / 2)


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
