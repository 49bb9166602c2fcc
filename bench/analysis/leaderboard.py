"""The leaderboards as one data frame, for a notebook or a file: numbers, no layout."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.analysis.board_lines import Line
from bench.analysis.boards import Board, Searches, boards
from bench.matrix.job import Job

__all__ = ["frame", "leaderboard"]

OF_A_LINE = (
    *("dataset", "backbone", "objective", "kind", "best_rank", "worst_rank", "ties", "leads"),
    *("seeds", "seeds_asked", "dim", "seconds"),
)
WHOLE = ("best_rank", "worst_rank", "seeds", "seeds_asked", "dim")
"""Columns of whole numbers, some of which may be missing."""


def leaderboard(rows: pd.DataFrame, jobs: Sequence[Job] = (), searched: Searches | None = None) -> pd.DataFrame:
    """One row per line of every leaderboard, by dataset and backbone, the best Recall@1 first.

    Columns: dataset, backbone, objective, kind; best_rank and worst_rank, the ranks that it may have; ties, the letters
    of its tie groups; leads, whether no other is better; seeds that gave scores, of seeds_asked; dim; seconds of
    training of one seed; and for each metric its mean in [0, 1], and after it, with `_half_width`, that of its 95 %
    interval over seeds (NaN for one seed). What is not known is missing. Controls are there, without a rank.

    Args:
        rows: as `bench.load` gives them.
        jobs: whose labels are shown instead of the stored ones.
        searched: what is said of boards whose settings were searched.
    """
    return frame(boards(rows, jobs, searched))


def frame(found: Sequence[Board], metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """The same of boards, with these metrics, by default all that one of them has."""
    shown = list(dict.fromkeys(name for board in found for name in board.metrics)) if metrics is None else metrics
    lines = [_line(line, board, shown) for board in found for line in board.lines]
    columns = [*OF_A_LINE, *(column for name in shown for column in (name, f"{name}_half_width"))]
    return pd.DataFrame(lines, columns=columns).astype(dict.fromkeys(WHOLE, "Int64"))


def _line(line: Line, board: Board, metrics: Sequence[str]) -> dict[str, Any]:
    place = board.verdict.places.get(line.cell)
    best, worst = place.ranks if place and place.ranks else (None, None)
    scores = {name: score for name in metrics if (score := line.scores.get(name))}
    return {
        "dataset": board.dataset,
        "backbone": board.backbone,
        "objective": line.label,
        "kind": line.kind,
        "best_rank": best,
        "worst_rank": worst,
        "ties": place.letters if place else "",
        "leads": bool(place and place.leads),
        "seeds": line.done,
        "seeds_asked": line.seeds,
        "dim": line.dim,
        "seconds": line.seconds,
        **{name: score.mean for name, score in scores.items()},
        **{f"{name}_half_width": score.half_width for name, score in scores.items()},
    }
