"""How far scores fell from a baseline to a fresh run, for each method and for the mean of all methods.

Two ways: over other seeds (both variances pooled within each method), or per seed, where both ran the same seeds. A
changed program with the same seed stays close to its old self (correlations of .71 to .98), so that way often wins.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bench.stats.difference import mean, methods
from bench.stats.estimate import Estimate, Numbers, say
from bench.stats.ranks import Flags
from bench.stats.shrinkage import NEGLIGIBLE, PRIOR_SEEDS, shrink

__all__ = ["drops"]

CLEARLY = 0.7
"""Drops per seed are taken where their pooled variance is below this share of the other. To take the smaller one as it
comes is a choice by luck: where seeds share nothing it raises false alarms (10 + 3 seeds: 1.7 %, so 1.4 %)."""
UNCHANGED = "nothing changed in it"


class Drops(NamedTuple):
    """Drops of the methods, one way of the two."""

    each: Estimate
    """[..., m]; NaN where nothing changed."""
    pooled: Numbers
    """[...]: variance of a drop, pooled over the changed methods without any prior; what decides between the ways."""
    together: Numbers
    """[...]: variance of the mean drop of all methods, from per-seed means: it sees what methods share by seed."""
    freedom: Numbers
    """[...]: of `together`."""


def drops(
    baseline: Numbers, fresh: Numbers, *, changed: Flags, shared: tuple[Sequence[int], Sequence[int]]
) -> tuple[Estimate, Flags]:
    """Drops [..., m + 1], the last that of the mean of all, and whether they are taken per seed [...].

    `baseline` [..., m, Sb] and `fresh` [..., m, Sf] hold NaN for a seed without a score; `shared` lists the columns of
    either that are the same seeds. Methods not `changed` [..., m] count as a drop of 0 in the mean.
    """
    after = np.where(changed[..., None], fresh, np.nan)
    best = _other_seeds(baseline, after, changed)
    paired = np.zeros(changed.shape[:-1], bool)
    if len(shared[0]) > 1:
        close = _same_seeds(baseline[..., list(shared[0])] - after[..., list(shared[1])], changed)
        paired = (close.pooled < CLEARLY * best.pooled) & (close.pooled > NEGLIGIBLE)
        one = Estimate(*(np.where(paired[..., None], a, b) for a, b in zip(close.each, best.each, strict=True)))
        best = Drops(one, *(np.where(paired, a, b) for a, b in zip(close[1:], best[1:], strict=True)))
    return _with_mean(best, changed), paired


def _other_seeds(before: Numbers, after: Numbers, changed: Flags) -> Drops:
    old, new = methods(before), methods(after)
    degrees = np.maximum(old.seeds - 1, 0) + np.maximum(new.seeds - 1, 0)
    squares = np.nan_to_num(old.own) * (old.seeds - 1) + np.nan_to_num(new.own) * (new.seeds - 1)
    one_run = squares / np.maximum(degrees, 1)
    found = shrink(one_run, np.where(old.seeds > 0, degrees, -1.0))
    with np.errstate(divide="ignore"):
        share = 1 / old.seeds + 1 / new.seeds
    reason = np.where(new.seeds > 0, found.reason, say([(changed, "no fresh seed of it has a score")], like=share))
    reason = np.where(changed, reason, UNCHANGED)
    known = reason == ""
    each = Estimate(
        np.where(changed, old.mean - new.mean, np.nan),
        np.where(known, found.variance * np.where(known, share, 1.0), np.nan),
        np.where(known, found.freedom, np.nan),
        reason,
    )
    seeds = before.shape[-1], after.shape[-1]
    rows = sum(seeds) - 2
    joint = (_per_seed(before, changed) + _per_seed(after, changed)) / max(rows, 1)
    return Drops(
        each,
        _pooled(one_run * np.where(known, share, 0.0), degrees, known),
        joint * (1 / seeds[0] + 1 / seeds[1]),
        np.full(changed.shape[:-1], float(rows)),
    )


def _same_seeds(apart: Numbers, changed: Flags) -> Drops:
    found = methods(apart)
    each = mean(found)
    seeds = apart.shape[-1]
    return Drops(
        each._replace(reason=np.where(changed, each.reason, UNCHANGED)),
        _pooled(np.nan_to_num(found.own) / np.maximum(found.seeds, 1), found.seeds - 1, changed & (found.seeds > 1)),
        _per_seed(apart, changed) / (seeds - 1) / seeds,
        np.full(changed.shape[:-1], seeds - 1.0),
    )


def _pooled(variance: Numbers, degrees: Numbers, counts: Flags) -> Numbers:
    """Mean variance by degrees of freedom over what counts; infinite where nothing does."""
    weight = np.where(counts, degrees, 0.0)
    whole = weight.sum(axis=-1)
    return np.where(whole > 0, (weight * variance).sum(axis=-1) / np.maximum(whole, 1), np.inf)


def _per_seed(scores: Numbers, changed: Flags) -> Numbers:
    """Summed squares over seeds [...] of the mean over all methods, each about its own mean and NaN as that mean."""
    known = np.isfinite(scores) & changed[..., None]
    values = np.where(known, scores, 0.0)
    means = values.sum(axis=-1, keepdims=True) / np.maximum(known.sum(axis=-1, keepdims=True), 1)
    apart = np.where(known, values - means, 0.0).mean(axis=-2)
    return np.asarray((apart**2).sum(axis=-1))


def _with_mean(found: Drops, changed: Flags) -> Estimate:
    """The drops and, as the last entry, that of the mean of all."""
    each, count = found.each, changed.shape[-1]
    sure = changed & (each.reason == "")
    missing = (changed & (each.reason != "")).any(axis=-1)
    variance, freedom = _mean_variance(found, sure)
    reason = say([(~changed.any(axis=-1), UNCHANGED), (missing, "a method of it has no interval")], like=variance)
    drop = np.where(sure, each.mean, 0.0).sum(axis=-1) / count
    last = (*(np.where(reason == "", number, np.nan) for number in (drop, variance, freedom)), reason)
    return Estimate(*(np.concatenate([a, np.asarray(b)[..., None]], -1) for a, b in zip(each, last, strict=True)))


def _mean_variance(found: Drops, sure: Flags) -> tuple[Numbers, Numbers]:
    """Variance and freedom [...] of the mean drop of all methods.

    The sum of the methods' own variances, as if they shared nothing by seed, or what the per-seed means say (pulled to
    that sum, since their degrees of freedom are few), whichever is larger. Without the second, methods correlated by
    .2 within a seed raise the false alarms from 1 to 2.9 %.
    """
    parts = np.where(sure, found.each.variance, 0.0) / sure.shape[-1] ** 2
    alone = parts.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = alone**2 / (parts**2 / np.where(sure, found.each.freedom, 1.0)).sum(axis=-1)
    pulled = (PRIOR_SEEDS * alone + found.freedom * found.together) / (PRIOR_SEEDS + found.freedom)
    return np.maximum(alone, pulled), np.where(alone >= pulled, degrees, PRIOR_SEEDS + found.freedom)
