"""The tables of reports/ensembles.md: what each ensemble gains in every regime, from the committed rows."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import bench
from bench.analysis.board_lines import FIRST, Line
from bench.analysis.boards import Board, boards, searches
from bench.analysis.gain_intervals import Gain
from bench.analysis.gains import EnsembleGain
from bench.matrix.expand import expand
from bench.matrix.file import load
from bench.report.markdown import markdown_table
from bench.report.tables import Cell, Table, percent

ROOT = Path(__file__).parents[2]

PLACES = {
    "letters": ("reference", "glyphs(classes=150)", "conv4-48"),
    "handwriting": ("reference", "omniglot(size=32, classes=100)", "conv4-48"),
    "groceries": ("reference", "grocery_store(size=32)", "conv4-48"),
    "groceries, frozen": ("finetune", "grocery_store(size=128)", "lite0, frozen"),
    "cars, frozen": ("finetune", "cars196_half (not Cars196) (size=128)", "lite0, frozen"),
    "groceries, fine-tuned": ("finetune", "grocery_store", "lite0"),
    "cars, fine-tuned": ("finetune", "cars196_half (not Cars196) (size=64)", "lite0"),
}
"""Heading of a column -> committed file, dataset and backbone."""
ENSEMBLES = {
    "sum": "sum",
    "PCGrad": "PCGrad",
    "WEL": "WEL",
    "WEDL": "WEDL",
    "WEDL, full heads": "WEDL, full heads (dim=512)",
    "WEDL-C": "WEDL-C",
    "concatenate": "concatenate",
    "mean_similarity": "mean_similarity",
}
"""Name in the tables -> label of the line."""


@cache
def stored(name: str) -> list[Board]:
    """The boards of a committed file; of settings that were searched, with the matrices that say so."""
    matrices = [load(str(file)) for file in sorted((ROOT / "results" / "tuned").glob(f"{name}-*.toml"))]
    asked = [(matrix, expand(matrix)) for matrix in matrices]
    jobs = [job for _, own in asked for job in own]
    return boards(bench.load(ROOT / "results" / f"{name}.parquet"), jobs, searches(asked))


def place(heading: str) -> Board:
    """The board that a column is about."""
    file, dataset, backbone = PLACES[heading]
    (found,) = (one for one in stored(file) if (one.dataset, one.backbone) == (dataset, backbone))
    return found


def entry(board: Board, ensemble: str) -> EnsembleGain:
    (found,) = (one for one in board.gains if one.line.label == ENSEMBLES[ensemble])
    return found


def gains(chosen: Callable[[EnsembleGain], Gain | None]) -> str:
    """One row per ensemble and one column per board, of one kind of gain; bold where it is real."""
    columns = [place(heading) for heading in PLACES]
    rows = [(Cell(name), *(_cell(chosen(entry(board, name))) for board in columns)) for name in ENSEMBLES]
    return markdown_table(Table(("Ensemble", *PLACES), tuple(rows), texts=1))


def levels() -> str:
    """One row per board: the trunk alone, the best member, and the highest ensemble."""
    heads = ("Board", "Seeds", "Trunk alone", "Best member", "Recall@1", "Highest ensemble", "Recall@1")
    return markdown_table(Table(heads, tuple(_level(heading) for heading in PLACES), texts=1))


def _level(heading: str) -> tuple[Cell, ...]:
    board = place(heading)
    several = [entry(board, name) for name in ENSEMBLES]
    member = several[0].best[0]
    best = max((one.line for one in several), key=lambda line: line.scores[FIRST].mean)
    alone = percent(board.trunk.line.scores[FIRST].mean, float("nan")) if board.trunk else "–"
    return (
        *(Cell(text) for text in (heading, str(member.done), alone, member.label, _score(member))),
        *(Cell(text) for text in (best.label, _score(best))),
    )


def _score(line: Line) -> str:
    return percent(line.scores[FIRST].mean, line.scores[FIRST].half_width)


def _cell(gain: Gain | None) -> Cell:
    return Cell("–") if gain is None else Cell(percent(gain.mean, gain.half_width, sign="+"), marked=gain.above)
