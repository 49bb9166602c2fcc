"""Why pairs of methods have no verdict, in sentences: of all pairs of a board at once, maybe millions."""

from collections.abc import Sequence

import numpy as np

from bench.analysis.differences import Differences, Method
from bench.stats.difference import Indices, Methods
from bench.stats.estimate import Reasons, say

__all__ = ["no_verdict"]

ONE_SEED = "one seed has no verdict, so run a second"
ONE_COMMON_SEED = "they share trained models, and only one seed has a score of both, which has no verdict"
THE_SAME = "both are made of the same trained models and score the same"


def no_verdict(lines: Sequence[Method], found: Methods, apart: Differences, at: tuple[Indices, Indices]) -> Reasons:
    """Why a pair has no verdict; a borrowed variance gives an interval, never a verdict."""
    first, second = at
    numbers: dict[frozenset[str], int] = {}
    models = np.array([numbers.setdefault(line.models, len(numbers)) if line.models else -1 for line in lines])
    same = (models[first] == models[second]) & (models[first] >= 0) & (apart.seeds.mean == 0)
    single = np.asarray(found.seeds == 1)
    lone = ~apart.shared & (single[first] | single[second])
    uncommon = apart.shared & (apart.counts == 1)
    said = say([(same, THE_SAME), (uncommon, ONE_COMMON_SEED), (lone, ONE_SEED)], like=first)
    why = _named(lines, found, apart, at)
    there = ~same & (why != "")
    said[there] = np.where((lone | uncommon)[there], said[there] + "; " + why[there], why[there])
    return said


def _named(lines: Sequence[Method], found: Methods, apart: Differences, at: tuple[Indices, Indices]) -> Reasons:
    """Why there is no interval of a pair; where one of the two methods is the reason, with its label."""
    lacking = found.reason != ""
    if not lacking.any():
        return apart.seeds.reason
    first, second = at
    named = [f"{line.label}: {why}" if why else "" for line, why in zip(lines, found.reason, strict=True)]
    own = np.array(named, dtype=object)
    why = np.where(lacking[first], own[first], own[second])
    return np.where(apart.shared | (why == ""), apart.seeds.reason, why)
