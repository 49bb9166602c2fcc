"""The tables of a board as cells of text, once for Markdown, HTML and terminal."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from bench.analysis.boards import Board
from bench.analysis.gains import EnsembleGain
from bench.analysis.lines import Line, Score
from bench.scoring.names import NONE, metric_name
from bench.stats.intervals import Gain

__all__ = [
    "Cell",
    "Table",
    "contamination_text",
    "duration",
    "glance",
    "kind_name",
    "ladder",
    "percent",
    "scoreboard",
    "unfinished",
]

KINDS = {
    "loss": "loss",
    "ensemble": "ensemble",
    "model_ensemble": "model ensemble",
    "control": "control",
    "floor": "floor",
}


class Cell(NamedTuple):
    """One cell: what is shown, what it sorts by, whether it is the best of its column."""

    text: str
    order: float | str = ""
    best: bool = False


class Table(NamedTuple):
    """Column heads and rows of cells; `texts` says how many first columns hold words, the rest hold numbers."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    texts: int = 1


def kind_name(kind: str) -> str:
    """How a kind of objective is written."""
    return KINDS.get(kind, kind)


def percent(mean: float, half_width: float, *, sign: str = "") -> str:
    """A value in [-1, 1] in percent with one decimal: "61.3 ± 2.1", or "61.3" where there is no interval."""
    rounded = round(100 * mean, 1) + 0.0  # adding 0 turns -0.0 into 0.0
    text = f"{rounded:{sign}.1f}".replace("-", "−")
    return text if math.isnan(half_width) else f"{text} ± {100 * half_width:.1f}"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best: "0.4 s", "12 min", "3.5 h"."""
    if math.isnan(seconds):
        return NONE
    if seconds < 100:
        return f"{seconds:.{1 if seconds < 10 else 0}f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5940 else f"{seconds / 3600:.1f} h"


def scoreboard(board: Board) -> Table:
    """Every line of a board with every metric in percent, and the chance level last."""
    heads = ("Objective", "Kind", *(metric_name(name) for name in board.metrics), "Seeds", "Dim", "Time")
    best = {
        name: max(_shown(line.scores[name]) for line in board.lines if name in line.scores) for name in board.metrics
    }
    rows = [_line(line, board.metrics, best) for line in board.lines]
    if board.chance:
        levels = (Cell(percent(board.chance[name], math.nan) if name in board.chance else "") for name in board.metrics)
        rows.append((Cell("chance level"), Cell(""), *levels, Cell(""), Cell(""), Cell("")))
    return Table(heads, tuple(rows), texts=2)


def _shown(score: Score) -> float:
    # Rounded as printed: two means that read the same are both best.
    return round(100 * score.mean, 1)


def _line(line: Line, metrics: Sequence[str], best: dict[str, float]) -> tuple[Cell, ...]:
    scores = (_score(line.scores.get(name), line.done, best[name]) for name in metrics)
    seeds = str(line.done) if line.done == line.seeds else f"{line.done} of {line.seeds}"
    dim = Cell(NONE, -1) if line.dim is None else Cell(str(line.dim), line.dim)
    untrained = line.kind in {"model_ensemble", "floor"} or (line.kind == "control" and line.members)
    time = duration(line.seconds) + (" †" if untrained else "")
    words = (Cell(line.label, line.label.lower()), Cell(kind_name(line.kind), line.kind))
    return (*words, *scores, Cell(seeds, line.done), dim, Cell(time, -1 if math.isnan(line.seconds) else line.seconds))


def _score(score: Score | None, done: int, best: float) -> Cell:
    if score is None:
        return Cell(NONE, -1)
    fewer = "" if score.seeds == done else f" (n = {score.seeds})"
    return Cell(percent(score.mean, score.half_width) + fewer, score.mean, best=_shown(score) == best)


def ladder(board: Board) -> Table:
    """What each ensemble gains in Recall@1 over its best member, in points: as it is, at equal size, at equal cost."""
    heads = (
        *("Ensemble", "Best member", "Size", "Cost", "Gain", "Reduced to member size"),
        *("vs best member, same size", "vs best member, same cost", "Naive gain", "Seeds"),
    )
    return Table(heads, tuple(_gain(entry) for entry in board.gains), texts=2)


def _gain(entry: EnsembleGain) -> tuple[Cell, ...]:
    label = Cell(entry.line.label, entry.line.label.lower())
    compared = (entry.gain, entry.reduced, entry.grown, entry.longer, entry.naive)
    seeds = max((len(gain.seeds) for gain in compared if gain), default=0)
    return (
        label,
        Cell(entry.why or ", ".join(member.label for member in entry.best)),
        *(_times(ratio) for ratio in (entry.size, entry.cost)),
        *(_points(gain, seeds) for gain in compared),
        Cell(str(seeds) if seeds else NONE, seeds),
    )


def _times(ratio: float) -> Cell:
    return Cell(NONE, -1) if math.isnan(ratio) else Cell(f"{ratio:.3g}×", ratio)


def _points(gain: Gain | None, seeds: int) -> Cell:
    """A gain in points, marked where its interval lies above 0."""
    if gain is None:
        return Cell(NONE, -1)
    fewer = "" if len(gain.seeds) == seeds else f" (n = {len(gain.seeds)})"
    text = percent(gain.mean, gain.half_width, sign="+") + fewer
    return Cell(text, gain.mean, best=gain.mean > gain.half_width)


def unfinished(board: Board) -> Table:
    """Cells without scores, with their sentences."""
    rows = tuple(
        (
            Cell(cell.label, cell.label.lower()),
            Cell(", ".join(map(str, cell.seeds))),
            Cell(cell.status),
            Cell(cell.reason),
        )
        for cell in board.unfinished
    )
    return Table(("Objective", "Seed", "Status", "Reason"), rows, texts=4)


def glance(boards: Sequence[Board]) -> Table:
    """The best line of every board by Recall@1; controls, which are there for comparison, left out."""
    heads = ("Dataset", "Backbone", "Best objective", "Recall@1", "Seeds", "Chance")
    marks = [contamination_text(board) for board in boards]
    rows = [_best(board) for board in boards]
    if not any(marks):
        return Table(heads, tuple(rows), texts=3)
    marked = (
        (*row[:3], Cell(mark.partition(":")[0] or NONE, mark), *row[3:]) for row, mark in zip(rows, marks, strict=True)
    )
    return Table((*heads[:3], "Contamination", *heads[3:]), tuple(marked), texts=4)


def contamination_text(board: Board) -> str:
    """What is known of earlier sight of the test images, beginning with a grade and a colon; "" for nothing."""
    count = board.near_duplicates
    copies = f"near-duplicates: {count:,} test image{'s have' if count > 1 else ' has'} one among the training images"
    return " | ".join(([board.overlap] if board.overlap else []) + ([copies] if count else []))


def _best(board: Board) -> tuple[Cell, ...]:
    words = (Cell(board.dataset, board.dataset.lower()), Cell(board.backbone, board.backbone.lower()))
    chance = board.chance.get("recall_at_1")
    level = Cell(NONE, -1) if chance is None else Cell(percent(chance, math.nan), chance)
    best = next((line for line in board.lines if line.kind != "control"), None)
    if best is None or "recall_at_1" not in best.scores:
        return (*words, Cell("no scores yet"), Cell(NONE, -1), Cell(NONE, 0), level)
    score = best.scores["recall_at_1"]
    return (
        *words,
        Cell(best.label, best.label.lower()),
        _score(score, best.done, math.nan),
        Cell(str(best.done), best.done),
        level,
    )
