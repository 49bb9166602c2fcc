"""The leaderboards for other programs: CSV and JSON of the numbers, tables for a paper in LaTeX."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from bench.analysis.board_comparison import Standing
from bench.analysis.boards import Board
from bench.analysis.leaderboard import frame
from bench.analysis.shrunk_scores import Score
from bench.matrix.catalogue import did_you_mean
from bench.matrix.job import ConfigError
from bench.report.tables import kind_name, percent, rank_set
from bench.scoring.names import metric_name

__all__ = ["FORMATS", "export"]

NONE = "--"
SPECIAL = str.maketrans(
    {
        **{mark: f"\\{mark}" for mark in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
    }
)
"""What has a meaning in LaTeX, as what shows it."""


def export(found: Sequence[Board], kind: str, *, metrics: Sequence[str] = ()) -> str:
    """The text of a file.

    Args:
        found: the boards.
        kind: one of FORMATS.
        metrics: which, in this order; by default all.

    Raises:
        ConfigError: there is no such format, or no board has such a metric.
    """
    if kind not in FORMATS:
        raise ConfigError(f"there is no format {kind!r}{did_you_mean(kind, FORMATS)}")
    known = list(dict.fromkeys(name for board in found for name in board.metrics))
    if unknown := [name for name in metrics if name not in known]:
        raise ConfigError(f"no line has a metric {unknown[0]!r}{did_you_mean(unknown[0], known)}")
    return FORMATS[kind](found, list(metrics) or known)


def _csv(found: Sequence[Board], metrics: Sequence[str]) -> str:
    return str(frame(found, metrics).to_csv(index=False, lineterminator="\n"))


def _json(found: Sequence[Board], metrics: Sequence[str]) -> str:
    return f"{frame(found, metrics).to_json(orient='records', indent=2, double_precision=15, force_ascii=False)}\n"


def _latex(found: Sequence[Board], metrics: Sequence[str]) -> str:
    """One table per board, for the package booktabs."""
    tables = [_table(board, [name for name in metrics if name in board.metrics]) for board in found]
    return "\n".join(["% Made by `bench export latex`; needs \\usepackage{booktabs}.", *tables])


def _table(board: Board, metrics: Sequence[str]) -> str:
    lines = [line for line in board.lines if line.kind != "control"]
    columns: dict[str, list[str]] = {
        "Objective": [_escaped(line.label) for line in lines],
        "Kind": [kind_name(line.kind) for line in lines],
    }
    if any(place.ranks for place in board.verdict.places.values()):
        columns["Rank"] = [_rank(board.verdict.places.get(line.cell)) for line in lines]
    for name in metrics:
        columns[_escaped(metric_name(name))] = [
            _score(line.scores.get(name), leads=line.cell in board.leading[name]) for line in lines
        ]
    about = ", ".join(_escaped(text) for text in (board.dataset, board.backbone, board.queries))
    said = f"{about}. Scores in percent with their 95\\,\\% intervals over seeds. Bold: no other is better."
    formats = "ll" + "r" * (len(columns) - 2)
    return str(pd.DataFrame(columns).to_latex(index=False, escape=False, column_format=formats, caption=said))


def _rank(place: Standing | None) -> str:
    return rank_set(*place.ranks).replace("–", "--") if place and place.ranks else NONE


def _score(score: Score | None, *, leads: bool) -> str:
    if score is None:
        return NONE
    mean, _, width = percent(score.mean, score.half_width).replace("−", "$-$").partition(" ± ")
    shown = f"\\textbf{{{mean}}}" if leads else mean
    return f"{shown} $\\pm$ {width}" if width else shown


def _escaped(text: str) -> str:
    return text.translate(SPECIAL)


FORMATS: Mapping[str, Callable[[Sequence[Board], Sequence[str]], str]] = {"csv": _csv, "json": _json, "latex": _latex}
