"""Scores of the lines of one board with their intervals over new seeds, all by one typical variance."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bench.stats.difference import mean, methods
from bench.stats.estimate import Numbers

__all__ = ["Column", "Score", "shrunk_scores"]


class Score(NamedTuple):
    """One metric of one line, in [0, 1]."""

    mean: float
    half_width: float
    """Of the 95 % interval over new seeds, its variance shrunk over the board; NaN for one seed."""
    seeds: int
    """How many seeds have a value."""
    sd: float
    """Over its own seeds; NaN for one."""


class Column(NamedTuple):
    """What the seeds of one line score under one metric."""

    values: Numbers | None
    """[S], NaN for a seed without a score; None where no seed has one."""
    outside: bool
    """Nothing was trained for it, so it says nothing about how others vary."""
    control: bool
    """It is not ranked, and does not change the intervals of those that are."""


def shrunk_scores(columns: Sequence[Column]) -> list[Score | None]:
    """One score for each line of a board, None where it has none."""
    known = [place for place, column in enumerate(columns) if column.values is not None]
    ranked = [place for place in known if not columns[place].control]
    found = (_scores(columns, known) if len(ranked) < len(known) else {}) | _scores(columns, ranked)
    return [found.get(place) for place in range(len(columns))]


def _scores(columns: Sequence[Column], places: Sequence[int]) -> dict[int, Score]:
    values = {place: found for place in places if (found := columns[place].values) is not None}
    if not values:
        return {}
    table = np.full((len(values), max(map(len, values.values()))), np.nan)
    for row, one in zip(table, values.values(), strict=True):
        row[: len(one)] = one
    each = methods(table, outside=[columns[place].outside for place in values])
    widths = np.where(each.seeds > 1, mean(each).half_width(), np.nan)
    numbers = zip(each.mean, widths, each.seeds, np.sqrt(each.own), strict=True)
    return {
        place: Score(float(middle), float(width), int(seeds), float(sd))
        for place, (middle, width, seeds, sd) in zip(values, numbers, strict=True)
        if seeds
    }
