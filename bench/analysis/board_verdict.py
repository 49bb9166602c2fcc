"""From the lines of a board to methods whose seeds are compared, and what is then known of the whole board."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench.analysis.board_comparison import MOST_GROUPED, BoardComparison, Method, Standing, compare, leaders, standings
from bench.analysis.board_lines import FIRST, Line
from bench.analysis.pair_table import PairTable, pair_table
from bench.analysis.verdict_text import board_in_words
from bench.stats.estimate import Estimate
from bench.stats.ranks import Flags

__all__ = ["Apart", "Verdict", "compared", "leading", "line_methods", "verdict"]


class Apart(NamedTuple):
    """How far the lines of one board are apart: of all that is compared, what is asked for again."""

    better: Flags
    """[m, m]: row is separated from column and above it."""
    seeds: Estimate
    """[P]: the first less the second of every pair, over new seeds, in the order of `pairs`."""


class Verdict(NamedTuple):
    """What the seeds say about the order of a board's lines by Recall@1."""

    sentence: str
    """Who leads; empty for fewer than two lines."""
    leading: frozenset[str]
    """The cells that no other is better than."""
    places: Mapping[str, Standing]
    """By cell, of the lines that are compared."""
    apart: Apart | None
    """These lines, in the same order; None for fewer than two."""
    pairs: PairTable | None
    """Of the same lines; None for fewer than two, and for more than anyone reads."""


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
        return Verdict("", frozenset(), {}, None, None)
    found = compare(line_methods(known, FIRST))
    places = standings(found)
    by_cell = {line.cell: place for line, place in zip(known, places, strict=True)}
    apart = Apart(found.better, found.apart.seeds)
    return Verdict(board_in_words(found, places), _cells(known, found), by_cell, apart, pair_table(found))


def leading(lines: Sequence[Line], metric: str) -> frozenset[str]:
    """The cells of the leading group under a metric; empty for fewer than two lines, or more than MOST_GROUPED."""
    known = compared(lines, metric)
    few = 1 < len(known) <= MOST_GROUPED
    return _cells(known, compare(line_methods(known, metric))) if few else frozenset()


def _cells(lines: Sequence[Line], found: BoardComparison) -> frozenset[str]:
    return frozenset(lines[place].cell for place in leaders(found))
