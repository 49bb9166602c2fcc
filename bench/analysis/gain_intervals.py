"""Intervals of gains: over all seeds that both sides have, or seed by seed where they share trained models."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bench.analysis.board_lines import FIRST, Line
from bench.analysis.board_verdict import line_methods
from bench.analysis.differences import summary
from bench.stats.difference import mean, methods
from bench.stats.estimate import Estimate, Numbers
from bench.stats.ranks import holm

__all__ = ["Gain", "Runs", "estimated"]

ALPHA = 0.05

Runs = tuple[tuple[int, Line, Line], ...]
"""Seed, what was run, and what it is held against in that seed."""


class Gain(NamedTuple):
    """A mean difference over shared seeds, in the unit of the scores."""

    mean: float
    half_width: float
    """Of the 95 % interval over new seeds, its variance shrunk over the board; NaN for a single seed."""
    seeds: tuple[int, ...]
    """The seeds that both sides have, ascending."""
    above: bool
    """Whether it is above 0 by Holm's correction over the gains of the same kind on the board."""


Key = tuple[tuple[int, str, str], ...]


def estimated(columns: Mapping[str, Sequence[Runs]], lines: Sequence[Line]) -> dict[str, list[Gain | None]]:
    """By kind of gain, the gains of the ensembles of one board, None where nothing was run.

    Two models trained apart vary each by itself, so their variances add up. An ensemble made of trained models moves
    with its member: there the differences per seed vary, and their variances are shrunk over the board's gains.

    Args:
        columns: by kind, for every ensemble the runs that are compared.
        lines: all of the board.
    """
    if not any(columns.values()):
        return {name: [] for name in columns}
    every = {_key(runs): runs for column in columns.values() for runs in column if len(runs) > 1}
    shared = [runs for runs in every.values() if any(ours.models & theirs.models for _, ours, theirs in runs)]
    found = _apart(list(every.values()), lines) | _seed_by_seed(shared)
    return {name: _column(column, found) for name, column in columns.items()}


def _key(runs: Runs) -> Key:
    return tuple((seed, ours.cell, theirs.cell) for seed, ours, theirs in runs)


def _differences(runs: Runs) -> Numbers:
    return np.array([ours.recalls[seed] - theirs.recalls[seed] for seed, ours, theirs in runs])


def _apart(several: Sequence[Runs], lines: Sequence[Line]) -> dict[Key, Estimate]:
    """Variances of single runs, shrunk over the board, of either side in every seed."""
    if not several:
        return {}
    known = [line for line in lines if FIRST in line.scores]
    found = summary(line_methods(known, FIRST))
    places = {line.cell: place for place, line in enumerate(known)}
    estimates = {}
    for runs in several:
        sides = [places[line.cell] for _, *both in runs for line in both]
        variance = found.variance[sides].sum() / len(runs) ** 2
        estimates[_key(runs)] = _estimate(_differences(runs).mean(), variance, found.freedom[sides].min())
    return estimates


def _seed_by_seed(several: Sequence[Runs]) -> dict[Key, Estimate]:
    if not several:
        return {}
    table = np.full((len(several), max(map(len, several))), np.nan)
    for row, runs in zip(table, several, strict=True):
        row[: len(runs)] = _differences(runs)
    found = mean(methods(table))
    return {_key(runs): found.at(place) for place, runs in enumerate(several)}


def _column(column: Sequence[Runs], found: Mapping[Key, Estimate]) -> list[Gain | None]:
    known = [found.get(_key(runs)) or _estimate(*_only(runs)) for runs in column]
    each = Estimate(*(np.array(field) for field in zip(*known, strict=True)))
    means, widths = each.mean.tolist(), each.half_width().tolist()
    above = (each.mean > 0) & (holm(each.p_two_sided()) <= ALPHA)
    return [
        Gain(means[at], widths[at], tuple(seed for seed, *_ in runs), bool(above[at])) if runs else None
        for at, runs in enumerate(column)
    ]


def _only(runs: Runs) -> tuple[float, float, float]:
    """One seed has a difference and no interval."""
    return float(_differences(runs).sum()) if runs else np.nan, np.nan, np.nan


def _estimate(difference: float, variance: float, freedom: float) -> Estimate:
    return Estimate(np.asarray(difference), np.asarray(variance), np.asarray(freedom), np.asarray("", object))
