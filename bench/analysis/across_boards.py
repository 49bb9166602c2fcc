"""Methods over several datasets: which is better, tied or worse how often, and the mean difference over these."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bench.analysis.board_lines import FIRST, Line
from bench.analysis.board_verdict import Apart, compared
from bench.analysis.boards import Board
from bench.stats.across_datasets import across
from bench.stats.estimate import Estimate

__all__ = ["AcrossLine", "Together", "together"]


class AcrossLine(NamedTuple):
    """One method over several datasets, by Recall@1."""

    label: str
    mean: float
    """Over the datasets."""
    better: int
    """Comparisons with the other methods, one per dataset, that it wins by its board's own correction."""
    tied: int
    worse: int
    behind: tuple[float, float]
    """The first method less this one, mean over the datasets, and the half-width of its 95 % interval over seeds."""


class Together(NamedTuple):
    """The methods that all of some datasets have, with one backbone."""

    backbone: str
    datasets: tuple[str, ...]
    lines: tuple[AcrossLine, ...]
    """By the mean over the datasets, best first."""


def together(boards: Sequence[Board]) -> list[Together]:
    """One entry for each set of datasets that two trained methods or more have in common, controls left out."""
    found = []
    for backbone in dict.fromkeys(board.backbone for board in boards):
        here = [board for board in boards if board.backbone == backbone and board.verdict.apart]
        on = {place: _methods(board) for place, board in enumerate(here)}
        methods = dict.fromkeys(method for lines in on.values() for method in lines)
        where = {method: frozenset(place for place, lines in on.items() if method in lines) for method in methods}
        for places in dict.fromkeys(places for places in where.values() if len(places) > 1):
            shared = [method for method, all_ in where.items() if places <= all_]
            trained = [method for method in shared if not on[min(places)][method].outside]
            if len(trained) > 1:
                found.append(_together([here[place] for place in sorted(places)], shared))
    return found


def _methods(board: Board) -> dict[str, Line]:
    """The lines of a board by what they are; what two lines are is left out."""
    lines = compared(board.lines, FIRST)
    names = Counter(line.method for line in lines)
    return {line.method: line for line in lines if names[line.method] == 1}


def _together(boards: Sequence[Board], methods: Sequence[str]) -> Together:
    columns = [_methods(board) for board in boards]
    means = {method: float(np.mean([lines[method].scores[FIRST].mean for lines in columns])) for method in methods}
    ranked = sorted(methods, key=lambda method: (-means[method], columns[0][method].label))
    places = [_places(board, lines, ranked) for board, lines in zip(boards, columns, strict=True)]
    better = [_apart(board).better[np.ix_(at, at)] for board, at in zip(boards, places, strict=True)]
    wins = np.sum(better, axis=0)
    count = len(boards) * (len(ranked) - 1)
    lines = [
        AcrossLine(
            columns[0][method].label,
            means[method],
            int(wins[row].sum()),
            int(count - wins[row].sum() - wins[:, row].sum()),
            int(wins[:, row].sum()),
            _behind(boards, [(at[0], at[row]) for at in places]) if row else (0.0, 0.0),
        )
        for row, method in enumerate(ranked)
    ]
    return Together(boards[0].backbone, tuple(board.dataset for board in boards), tuple(lines))


def _places(board: Board, lines: Mapping[str, Line], methods: Sequence[str]) -> list[int]:
    """Where the methods stand in the board's comparison."""
    cells = {cell: place for place, cell in enumerate(board.verdict.places)}
    return [cells[lines[method].cell] for method in methods]


def _behind(boards: Sequence[Board], pairs: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """First less second, one pair of places per board: the mean over the boards and its half width."""
    each = [_difference(_apart(board), *pair) for board, pair in zip(boards, pairs, strict=True)]
    found = across(Estimate(*(np.array(field) for field in zip(*each, strict=True))), np.ones(len(each))).here
    return float(found.mean), float(found.half_width())


def _difference(found: Apart, first: int, second: int) -> Estimate:
    low, high = sorted((first, second))
    place = low * (2 * len(found.better) - low - 1) // 2 + high - low - 1  # the pairs are all there, in their order
    seeds = found.seeds.at(place)
    return seeds if first < second else seeds._replace(mean=-seeds.mean)


def _apart(board: Board) -> Apart:
    found = board.verdict.apart
    assert found is not None
    return found
