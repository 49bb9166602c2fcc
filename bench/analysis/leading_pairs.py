"""The best methods of a board against each other, pair by pair: what a reader sees at one glance."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.analysis.board_lines import FIRST, Line
from bench.analysis.board_verdict import compared
from bench.analysis.boards import Board
from bench.stats.estimate import Numbers
from bench.stats.ranks import Flags

__all__ = ["MOST_LEADING", "LeadingPairs", "leading_pairs"]

MOST_LEADING = 30
"""Methods at most, by their means; nobody reads a matrix of more."""


class LeadingPairs(NamedTuple):
    """n methods, best mean first; arrays are [n, n], row less column, of Recall@1 in [-1, 1]."""

    lines: tuple[Line, ...]
    of: int
    """How many methods of the board are compared."""
    leader: int
    """The place of the best mean of the leading group."""
    difference: Numbers
    """NaN on the diagonal, and where two have nothing in common to be compared by."""
    half_width: Numbers
    """Of the 95 % interval over new seeds; NaN where there is none."""
    better: Flags
    """The row is surely better, by Holm's correction over all pairs of the board."""
    known: Flags
    """There is a verdict on the pair, even if only that it cannot be told apart."""


def leading_pairs(board: Board) -> LeadingPairs | None:
    """None where no leader is known: of fewer than two methods, or where too few have a second seed."""
    apart, lines = board.verdict.apart, compared(board.lines, FIRST)
    count = min(len(lines), MOST_LEADING)
    leader = next((at for at, line in enumerate(lines[:count]) if line.cell in board.verdict.leading), None)
    if apart is None or leader is None:
        return None
    first, second = np.triu_indices(count, 1)
    seeds = apart.seeds.at(first * (2 * len(lines) - first - 1) // 2 + second - first - 1)
    better = apart.better[:count, :count]
    ranked = np.array([board.verdict.places[line.cell].ranks is not None for line in lines[:count]])
    tested = _filled(count, (seeds.reason == "").astype(float), sign=1) == 1
    return LeadingPairs(
        tuple(lines[:count]),
        len(lines),
        leader,
        _filled(count, seeds.mean, sign=-1),
        _filled(count, seeds.half_width(), sign=1),
        better,
        (tested & ranked[:, None] & ranked) | better | better.T,
    )


def _filled(count: int, values: NDArray[np.float64], *, sign: int) -> Numbers:
    """[n, n] of what the pairs have, in the order of `triu_indices`; the lower half is that times `sign`."""
    whole = np.full((count, count), np.nan)
    first, second = np.triu_indices(count, 1)
    whole[first, second], whole[second, first] = values, sign * values
    return whole
