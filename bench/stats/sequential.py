"""Seeds look by look: which methods can still lead, which pairs are separated, and who needs no more seeds.

The looks share the error rate by fixed weights (Bonferroni over looks), so that looking often raises no false alarm.
AdaStop does this for deep reinforcement learning: Mathieu et al., TMLR 2024.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr

from bench.stats.difference import Methods, difference, mean, methods, pairs
from bench.stats.estimate import Estimate, Numbers
from bench.stats.ranks import Flags, holm, separated
from bench.stats.shrinkage import PRIOR_SEEDS

__all__ = ["LOOKS", "LeadersLook", "OrderLook", "leaders", "looks", "order", "weights"]

LOOKS = (2, 3, 5, 7, 10, 16)


class LeadersLook(NamedTuple):
    """What the leaders rule decides at one look, all [..., m] but the first two."""

    seeds: int
    limit: float
    """The one-sided p value at or under which a method drops out at this look."""
    leading: Flags
    """Still in: no other was shown to be better."""
    dropped: Flags
    """Dropped out at this very look."""
    rival: NDArray[np.intp]
    """The method most clearly better at this look."""
    p: Numbers
    """One-sided p value of that; NaN where no comparison has an interval."""
    running: Flags
    """Gets the seeds of the next look; what is still in but not running waits for nothing that could be decided."""


class OrderLook(NamedTuple):
    """What the order rule decides at one look."""

    seeds: int
    better: Flags
    """[..., m, m]: row is separated from column and above it."""
    q: Numbers
    """[..., P]: the smallest p over the looks so far, each over its look's weight, corrected by Holm."""
    running: Flags
    """[..., m]: gets the seeds of the next look."""


def looks(most: int) -> tuple[int, ...]:
    """Numbers of seeds at which one looks, up to `most` seeds: 2, 3, 5, 7, 10, 16, and `most` itself as the last."""
    if not most >= 2:
        raise ValueError(f"at most {most} seeds are too few to decide anything; allow at least 2.")
    return (*(look for look in LOOKS if look < most), most)


def weights(count: int) -> tuple[float, ...]:
    """Each look's share of the error rate, later looks more: 2, 3, 4, ... in sum 1 (.10 .15 .20 .25 .30 for five)."""
    shares = range(2, count + 2)
    return tuple(share / sum(shares) for share in shares)


def leaders(
    scores: ArrayLike, *, most: int = 10, alpha: float = 0.05, outside: ArrayLike = False, shared: ArrayLike = False
) -> Iterator[LeadersLook]:
    """The looks that `scores` [..., m, S] allow, by the rule that looks for the leading group; replayed from the start.

    Columns are seeds in the order in which they were run, NaN where a method was not run (because a look said so) or
    has no score. A method drops out once another is better at one-sided p <= weight x alpha / (m - 1). The best of all
    is so lost with probability alpha at most. The same scores give the same decisions, also after a kill.
    """
    values = _checked(scores)
    size = values.shape[-2]
    plan = looks(most)
    shares = weights(len(plan))
    last = shares[-1] * alpha / max(size - 1, 1)
    leading = running = np.asarray(np.isfinite(values).any(axis=-1))
    seen = values[..., :0]
    for look, share in zip(plan, shares, strict=True):
        if look > values.shape[-1] or not running.any():
            return
        seen = _next(values, seen, look, running)
        found, spread = _all_pairs(seen, outside, shared)
        limit = share * alpha / max(size - 1, 1)
        rival, p = _strongest_rival(found)
        dropped = leading & (p <= limit) & running.any(axis=-1, keepdims=True)
        leading = leading & ~dropped
        open_ = _cannot_pass(found, spread, seeds=plan[-1], limit=last)
        running = _needed(~open_, running & leading) & (look < plan[-1])
        yield LeadersLook(look, limit, leading, dropped, rival, p, running)


def order(
    scores: ArrayLike, *, most: int = 10, alpha: float = 0.05, outside: ArrayLike = False, shared: ArrayLike = False
) -> Iterator[OrderLook]:
    """The looks that `scores` [..., m, S] allow, by the rule that looks for the whole order; see `leaders`.

    q of a pair is the smallest over the looks of p / weight; Holm's correction on q separates. Pairs once separated
    stay so.
    """
    values = _checked(scores)
    first, second = pairs(values.shape[-2])
    plan = looks(most)
    shares = weights(len(plan))
    running = np.asarray(np.isfinite(values).any(axis=-1))
    seen, smallest = values[..., :0], np.full((*values.shape[:-2], len(first)), np.nan)
    sign = np.zeros_like(smallest)
    for look, share in zip(plan, shares, strict=True):
        if look > values.shape[-1] or not running.any():
            return
        seen = _next(values, seen, look, running)
        found, spread = _all_pairs(seen, outside, shared)
        apart = found.at(first, second)
        now = np.minimum(1.0, apart.p_two_sided() / share)
        now = np.where(running.any(axis=-1, keepdims=True), now, np.nan)  # a board that has stopped looks no more
        sign = np.where(now <= np.fmin(smallest, now), np.sign(apart.mean), sign)
        smallest = np.fmin(smallest, now)
        q = holm(smallest)
        better = separated(q, sign, at=(first, second), alpha=alpha)
        done = better | np.swapaxes(better, -1, -2)
        undecided = np.maximum(1, len(first) - (q <= alpha).sum(axis=-1))[..., None, None]
        open_ = _cannot_pass(found, spread, seeds=plan[-1], limit=shares[-1] * alpha / undecided / 2)
        running = _needed(~open_ & ~done, running) & (look < plan[-1])
        yield OrderLook(look, better, q, running)


def _checked(scores: ArrayLike) -> Numbers:
    values = np.asarray(scores, np.float64)
    if values.ndim < 2 or values.shape[-2] < 2:
        raise ValueError(f"scores need the shape [methods, seeds] with at least two methods, not {values.shape}.")
    return values


def _next(values: Numbers, seen: Numbers, look: int, running: Flags) -> Numbers:
    """What was seen before, and the seeds up to this look of the methods that were still running."""
    added = np.where(running[..., None], values[..., seen.shape[-1] : look], np.nan)
    return np.concatenate([seen, added], axis=-1)


def _all_pairs(seen: Numbers, outside: ArrayLike, shared: ArrayLike) -> tuple[Estimate, Numbers]:
    """Row less column for all pairs, [..., m, m] each, and the variance of the difference of two single runs.

    A method of one seed decides nothing: its comparisons are NaN.
    """
    found = _of_several_seeds(methods(seen, outside=outside))
    size = seen.shape[-2]
    rows, columns = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    apart = difference(found, rows, columns)
    spread = found.variance[..., rows] + found.variance[..., columns]
    first, second = np.nonzero(np.triu(np.broadcast_to(np.asarray(shared), (size, size)), 1))
    if len(first):
        # Differences per seed, their variances shrunk over all such pairs.
        gains = _of_several_seeds(methods(seen[..., first, :] - seen[..., second, :]))
        once = mean(gains)
        for one, other, sign in ((first, second, 1), (second, first, -1)):
            for whole, part in zip(apart, once._replace(mean=sign * once.mean), strict=True):
                whole[..., one, other] = part
            spread[..., one, other] = gains.variance
    return apart, spread


def _of_several_seeds(found: Methods) -> Methods:
    return found._replace(variance=np.where(found.seeds > 1, found.variance, np.nan))


def _strongest_rival(found: Estimate) -> tuple[NDArray[np.intp], Numbers]:
    """For each method who is most clearly better than it, and the one-sided p value of that."""
    p = np.where(found.variance > 0, found.p_above(), np.nan)
    p[..., np.arange(p.shape[-1]), np.arange(p.shape[-1])] = np.nan
    known = np.where(np.isnan(p), np.inf, p)
    rival, smallest = known.argmin(axis=-2), known.min(axis=-2)
    return rival, np.where(np.isinf(smallest), np.nan, smallest)


def _cannot_pass(found: Estimate, spread: Numbers, *, seeds: int, limit: ArrayLike) -> Flags:
    """Pairs that even one standard error further apart would not pass the last look, one-sided at `limit`."""
    best = (np.abs(found.mean) + np.sqrt(found.variance)) / np.sqrt(spread / seeds)
    return np.asarray(stdtr(PRIOR_SEEDS + seeds - 1, -best) > limit)


def _needed(pairs_: Flags, running: Flags) -> Flags:
    """Methods that are part of a pair worth more seeds; both of its methods must be running."""
    wanted = pairs_ & running[..., :, None] & running[..., None, :]
    own = np.arange(wanted.shape[-1])
    wanted[..., own, own] = False
    return np.asarray(wanted.any(axis=-1))
