"""The tables of a board as cells of text, once for Markdown, HTML and terminal."""

import math
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from bench.analysis.across_boards import Together
from bench.analysis.board_comparison import Standing
from bench.analysis.board_lines import FIRST, Line
from bench.analysis.boards import Board
from bench.analysis.gain_intervals import Gain
from bench.analysis.gains import EnsembleGain
from bench.analysis.shrunk_scores import Score
from bench.analysis.verdict_text import time
from bench.scoring.names import NONE, metric_name

__all__ = [
    "Cell",
    "Table",
    "across_table",
    "across_title",
    "contamination_text",
    "duration",
    "glance",
    "kind_name",
    "ladder",
    "percent",
    "rank_set",
    "recall_axis",
    "scoreboard",
    "shortened",
    "unfinished",
]

KINDS = {
    "loss": "loss",
    "ensemble": "ensemble",
    "model_ensemble": "model ensemble",
    "student": "student",
    "control": "control",
    "floor": "floor",
}

MOST_LETTERS = 8
LAST = -1e6
"""Where a line without a rank is sorted; the best rank is the largest, so that it comes first as in other columns."""


class Cell(NamedTuple):
    """One cell: what is shown, what it sorts by, whether it stands out."""

    text: str
    order: float | str = ""
    marked: bool = False
    span: tuple[float, float, float] | None = None
    """Low end, mean and high end of an interval, in percent of an axis that its column shares; to be drawn."""
    link: str = ""
    """Address of a page elsewhere that the text leads to."""


class Table(NamedTuple):
    """Column heads and rows of cells: first columns that hold words, then numbers, then perhaps words again."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    texts: int = 1
    """How many first columns hold words."""
    left_out: int = 0
    """Rows of a long table that are elsewhere."""
    words: int = 0
    """How many last columns hold words."""


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
    return NONE if math.isnan(seconds) else time(seconds)


def scoreboard(board: Board) -> Table:
    """Every line of a board with its place and every metric in percent, and the chance level last."""
    ranked = any(place.ranks for place in board.verdict.places.values())
    placed = ("Rank", "Ties") if ranked else ()
    metrics = [(metric_name(name), *(("SD",) if ranked and name == FIRST else ())) for name in board.metrics]
    heads = ("Objective", "Kind", *placed, *chain(*metrics), "Seeds", "Dim", "Time")
    axis = recall_axis(board)
    rows = [_line(line, board, ranked=ranked, axis=axis) for line in board.lines]
    if board.chance:
        levels = [_chance(board, name, ranked=ranked) for name in board.metrics]
        rows.append((Cell("chance level"), *(Cell("") for _ in ("Kind", *placed)), *chain(*levels), *[Cell("")] * 3))
    return Table(heads, tuple(rows), texts=2)


def recall_axis(board: Board) -> tuple[float, float]:
    """The ends of the axis on which the intervals of Recall@1 are drawn in the rows, in [0, 1]."""
    ends = [end for line in board.lines if FIRST in line.scores for end in _ends(line.scores[FIRST])]
    return min(ends, default=0.0), max(ends, default=1.0)


def shortened(table: Table, most: int) -> Table:
    """The first rows of a long table, and after them those without a place in its order, as the chance level."""
    if len(table.rows) <= most:
        return table
    last = tuple(row for row in table.rows[most:] if row[0].order == "")
    return table._replace(rows=table.rows[:most] + last, left_out=len(table.rows) - most - len(last))


def _chance(board: Board, name: str, *, ranked: bool) -> list[Cell]:
    level = Cell(percent(board.chance[name], math.nan) if name in board.chance else "")
    return [level, Cell("")] if ranked and name == FIRST else [level]


def _line(line: Line, board: Board, *, ranked: bool, axis: tuple[float, float]) -> tuple[Cell, ...]:
    scores = [[_score(line.scores.get(name), line.done, line.cell in board.leading[name])] for name in board.metrics]
    if FIRST in board.metrics:
        first = scores[board.metrics.index(FIRST)]
        first[0] = first[0]._replace(span=_span(line.scores.get(FIRST), axis))
        first += [_spread(line.scores.get(FIRST))] if ranked else []
    seeds = str(line.done) if line.done == line.seeds else f"{line.done} of {line.seeds}"
    dim = Cell(NONE, -1) if line.dim is None else Cell(str(line.dim), line.dim)
    untrained = line.kind in {"model_ensemble", "floor"} or (line.kind == "control" and line.members)
    taken = duration(line.seconds) + (" †" if untrained else "")
    label = f"{line.label} ▽" if board.trunk and line.cell in board.trunk.below else line.label
    words = (Cell(label, line.label.lower()), Cell(kind_name(line.kind), line.kind))
    placed = _place(board.verdict.places.get(line.cell)) if ranked else ()
    costs = (Cell(seeds, line.done), dim, Cell(taken, -1 if math.isnan(line.seconds) else line.seconds))
    return (*words, *placed, *chain(*scores), *costs)


def _ends(score: Score) -> tuple[float, float]:
    """The ends of its interval, as far as they can be scores; the mean where there is none."""
    width = 0.0 if math.isnan(score.half_width) else score.half_width
    return max(0.0, score.mean - width), min(1.0, score.mean + width)


def _span(score: Score | None, axis: tuple[float, float]) -> tuple[float, float, float] | None:
    """Where the interval lies on an axis, in percent of it."""
    if score is None or axis[0] == axis[1]:
        return None
    low, high = _ends(score)
    first, middle, last = (100 * (value - axis[0]) / (axis[1] - axis[0]) for value in (low, score.mean, high))
    return first, middle, last


def _place(place: Standing | None) -> tuple[Cell, Cell]:
    """The ranks that a line may have, and the letters of its tie groups."""
    if place is None or place.ranks is None:
        return Cell(NONE, LAST), Cell(NONE, LAST)
    best, worst = place.ranks
    order = -best + worst / LAST
    letters = place.letters if len(place.letters) <= MOST_LETTERS else f"{place.letters[:MOST_LETTERS]}…"
    return Cell(rank_set(best, worst), order), Cell(letters or NONE, order)


def rank_set(best: int, worst: int) -> str:
    """The ranks that a method may have, such as "1–4"."""
    return str(best) if best == worst else f"{best}–{worst}"


def _spread(score: Score | None) -> Cell:
    """The standard deviation over a line's own seeds."""
    if score is None or math.isnan(score.sd):
        return Cell(NONE, -1)
    return Cell(percent(score.sd, math.nan), score.sd)


def _score(score: Score | None, done: int, leads: bool = False) -> Cell:
    if score is None:
        return Cell(NONE, -1)
    fewer = "" if score.seeds == done else f" (n = {score.seeds})"
    return Cell(percent(score.mean, score.half_width) + fewer, score.mean, marked=leads)


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
    """A gain in points, marked where it is above 0."""
    if gain is None:
        return Cell(NONE, -1)
    fewer = "" if len(gain.seeds) == seeds else f" (n = {len(gain.seeds)})"
    text = percent(gain.mean, gain.half_width, sign="+") + fewer
    return Cell(text, gain.mean, marked=gain.above)


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
    """The highest line of every board by Recall@1, controls left out, and how many others it is tied with."""
    heads = ("Dataset", "Backbone", "Highest mean", "Recall@1", "Also leading", "Seeds", "Chance")
    marks = [contamination_text(board) for board in boards]
    rows = [_highest(board) for board in boards]
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


def _highest(board: Board) -> tuple[Cell, ...]:
    words = (Cell(board.dataset, board.dataset.lower()), Cell(board.backbone, board.backbone.lower()))
    chance = board.chance.get(FIRST)
    level = Cell(NONE, -1) if chance is None else Cell(percent(chance, math.nan), chance)
    best = next((line for line in board.lines if line.kind != "control"), None)
    if best is None or FIRST not in best.scores:
        return (*words, Cell("no scores yet"), Cell(NONE, -1), Cell(NONE, -1), Cell(NONE, 0), level)
    group = board.leading[FIRST]
    others = Cell(str(len(group) - 1), len(group) - 1) if best.cell in group else Cell(NONE, -1)
    score = _score(best.scores[FIRST], best.done)
    return (*words, Cell(best.label, best.label.lower()), score, others, Cell(str(best.done), best.done), level)


def across_title(together: Together) -> str:
    """The datasets of a table over several."""
    return f"Over {len(together.datasets)} datasets: {', '.join(together.datasets)}; {together.backbone}"


def across_table(together: Together) -> Table:
    """Methods over several datasets: how often each is better, tied and worse, and how far it is behind the first."""
    heads = ("Objective", "Mean Recall@1", "Better", "Tied", "Worse", f"Behind {together.lines[0].label}")
    rows = [
        (
            Cell(line.label, line.label.lower()),
            Cell(percent(line.mean, math.nan), line.mean),
            *(Cell(str(count), count) for count in (line.better, line.tied, line.worse)),
            Cell(percent(*line.behind), line.behind[0]) if place else Cell(NONE, -1),
        )
        for place, line in enumerate(together.lines)
    ]
    return Table(heads, tuple(rows))
