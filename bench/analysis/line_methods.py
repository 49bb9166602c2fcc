"""From the lines of a board to methods whose seeds are compared, and what is then known of the whole board."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench.analysis.compare import BoardComparison, Method, Standing, compare, leaders, standings
from bench.analysis.lines import FIRST, Line
from bench.analysis.verdicts import board_in_words

__all__ = ["Verdict", "compared", "leading", "line_methods", "verdict"]


class Verdict(NamedTuple):
    """What the seeds say about the order of a board's lines by Recall@1."""

    sentence: str
    """Who leads; empty for fewer than two lines."""
    leading: frozenset[str]
    """The cells that no other is better than."""
    places: Mapping[str, Standing]
    """By cell, of the lines that are compared."""
    comparison: BoardComparison | None
    """Of these lines, in the same order."""


def compared(lines: Sequence[Line], metric: str) -> list[Line]:
    """The lines with a score under `metric`, but for controls, which are not ranked."""
    return [line for line in lines if metric in line.scores and line.kind != "control"]


def line_methods(lines: Sequence[Line], metric: str, *, source: str = "") -> tuple[Method, ...]:
    """Of every line, which must have a score under `metric`, its method; their labels are unique.

    `source` tells models apart of which no row says when they were trained.
    """
    labels = Counter(line.label for line in lines)
    return tuple(
        Method(
            f"{line.label} (cell {line.cell[-12:]})" if labels[line.label] > 1 else line.label,
            line.ran,
            line.values[metric],
            models=frozenset(f"{model.key} {model.began or source}" for model in line.models),
            outside=line.outside,
        )
        for line in lines
    )


def verdict(lines: Sequence[Line]) -> Verdict:
    """The order by Recall@1 of the lines of one board, but for controls."""
    known = compared(lines, FIRST)
    if len(known) < 2:
        return Verdict("", frozenset(), {}, None)
    found = compare(line_methods(known, FIRST))
    places = standings(found)
    by_cell = {line.cell: place for line, place in zip(known, places, strict=True)}
    return Verdict(board_in_words(found, places), _cells(known, found), by_cell, found)


def leading(lines: Sequence[Line], metric: str) -> frozenset[str]:
    """The cells of the leading group under a metric; empty where nothing can be ranked."""
    known = compared(lines, metric)
    return _cells(known, compare(line_methods(known, metric))) if len(known) > 1 else frozenset()


def _cells(lines: Sequence[Line], found: BoardComparison) -> frozenset[str]:
    return frozenset(lines[place].cell for place in leaders(found))
