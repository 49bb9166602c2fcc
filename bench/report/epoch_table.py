"""What selecting an epoch without the test costs, as a table."""

import math
from statistics import median

from bench.analysis.board_lines import LOOKS, Line
from bench.analysis.boards import Board
from bench.report.tables import Cell, Table, percent
from bench.scoring.names import NONE

__all__ = ["epoch_table"]


def epoch_table(board: Board) -> Table:
    """Recall@1 of every line that held classes out: on these, and on the test at three epochs; no rows where none did.

    The last two columns know the test: what its own best epoch would have given, and by how much that flatters.
    """
    heads = ("Objective", "Epoch", "Held out", "Selected", "Last", "Best on test (oracle)", "Gap", "Seeds")
    return Table(heads, tuple(_row(line) for line in board.lines if line.looks))


def _row(line: Line) -> tuple[Cell, ...]:
    scores = (line.looks.get(name) for name in LOOKS)
    cells = (Cell(percent(one.mean, one.half_width), one.mean) if one else Cell(NONE, -1) for one in scores)
    gap = Cell(NONE, -1) if line.gap is None else Cell(percent(line.gap.mean, line.gap.half_width), line.gap.mean)
    seeds = max(score.seeds for score in line.looks.values())
    return Cell(line.label, line.label.lower()), _epochs(line), *cells, gap, Cell(str(seeds), seeds)


def _epochs(line: Line) -> Cell:
    """The middle one and, in brackets, the first and the last of all models and seeds."""
    if not line.epochs:
        return Cell(NONE, -math.inf)
    middle, least, most = median(line.epochs), min(line.epochs), max(line.epochs)
    return Cell(f"{middle:g}" if least == most else f"{middle:g} ({least}–{most})", middle)
