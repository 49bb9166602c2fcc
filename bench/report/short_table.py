"""A board in a dozen rows and a few columns: who leads, and what needs no training."""

from bench.analysis.boards import Board
from bench.report.tables import Table

__all__ = ["MOST_SHORT", "short_table"]

MOST_SHORT, FLOORS = 12, 3
"""Rows at most, and those of them for what was not trained."""
COLUMNS = ("Objective", "Kind", "Rank", "Recall@1", "MAP@R", "NMI", "Seeds", "Time")


def short_table(board: Board, whole: Table) -> Table:
    """Of the `whole` scoreboard the best lines but for controls, the best floors, and the chance level."""
    count = len(board.lines)
    levels = whole.rows[count:]
    floors = [at for at, line in enumerate(board.lines) if line.outside][:FLOORS]
    room = MOST_SHORT - len(floors) - len(levels)
    best = [at for at, line in enumerate(board.lines) if not line.outside and line.kind != "control"][:room]
    rows = (*(whole.rows[at] for at in sorted(best + floors)), *levels)
    kept = [whole.heads.index(head) for head in COLUMNS if head in whole.heads]
    return Table(
        tuple(whole.heads[at] for at in kept),
        tuple(tuple(row[at] for at in kept) for row in rows),
        texts=2,
        left_out=len(whole.rows) - len(rows),
    )
