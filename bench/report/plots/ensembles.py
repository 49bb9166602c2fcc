"""The plots of ensembles: what they gain, and what their members do. Each public function is one, as in `plots`."""

import textwrap
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.analysis.board_lines import Line
from bench.analysis.boards import Board
from bench.analysis.gains import EnsembleGain
from bench.report.plots.axes import HUES, MOST, WIDTH, canvas, figure_of, key, wrapped
from bench.report.plots.svg import INK, Drawing, Logs

__all__ = ["gain", "members"]

COMPARISONS = (
    ("gain", "●", "#0173b2", "vs best member"),
    ("reduced", "▼", "#de8f05", "reduced to member size"),
    ("grown", "▲", "#d55e00", "vs member, same size"),
    ("longer", "■", "#029e73", "vs member, same cost"),
)
"""Field of a gain, mark, colour, name."""
COLUMNS = (("weight", "share of the weights"), ("running_mean", "running mean / first"), ("value", "own loss / first"))
FEW = 4
"""Ensembles whose members are drawn where there are more than MOST: a panel takes long to draw, and to read."""
PANEL, GAP = 0.75, 0.42


def gain(boards: Sequence[Board], logs: Logs) -> Iterator[Drawing]:  # noqa: ARG001
    """Gain of ensembles in Recall@1 over their best member: as it is, at equal size, at equal cost; 95 % intervals."""
    for board in boards:
        stated = sorted((entry for entry in board.gains if entry.gain), key=lambda entry: -_mean(entry))
        if stated:
            yield Drawing((board.dataset, board.backbone), _forest(stated[:MOST], board))


def members(boards: Sequence[Board], logs: Logs) -> Iterator[Drawing]:
    """Members of every ensemble, epoch by epoch: their weights, what they are normalised by, and their own losses."""
    if logs.members.empty:
        return
    for board in boards:
        courses = {line.label: _course(line, logs.members) for line in followed(board)}
        if long_enough := {label: course for label, course in courses.items() if course.index.nunique() > 1}:
            yield Drawing((board.dataset, board.backbone), _panels(long_enough, board))


def followed(board: Board) -> list[Line]:
    """The ensembles whose members are drawn, as far as their logs are longer than an epoch."""
    lines = [line for line in board.lines if line.kind == "ensemble"]
    return lines if len(lines) <= MOST else lines[:FEW]


def _mean(entry: EnsembleGain) -> float:
    return entry.gain.mean if entry.gain else 0.0


def _forest(entries: Sequence[EnsembleGain], board: Board) -> Figure:
    """One row per ensemble; in it one mark per comparison with its interval; 0 marked."""
    labels = [wrapped(entry.line.label) for entry in entries]
    spaced = [part for label in labels for part in (label, "")]  # two rows per ensemble: four marks need room
    axes = canvas(spaced, f"Gain in Recall@1: {board.dataset}, {board.backbone}")
    axes.axvline(0, color=INK, linewidth=0.8)
    for place, (field, mark, colour, _) in enumerate(COMPARISONS):
        found = [(row, getattr(entry, field)) for row, entry in enumerate(entries) if getattr(entry, field)]
        y = np.array([2 * row + 0.2 + 0.4 * place for row, _ in found])
        means = np.array([100 * gained.mean for _, gained in found])
        widths = np.nan_to_num([100 * gained.half_width for _, gained in found])
        axes.hlines(y, means - widths, means + widths, colors=colour, linewidth=1.4)
        shape = {"●": "o", "▼": "v", "▲": "^", "■": "s"}[mark]
        axes.plot(means, y, linestyle="none", marker=shape, color=colour, markersize=4.5)
    for row in range(1, len(entries)):
        axes.axhline(2 * row - 0.2, color=INK, linewidth=0.3, alpha=0.4)
    axes.set_ylim(2 * len(entries) - 0.2, -0.2)
    axes.set_xlabel("points of Recall@1")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    key(figure_of(axes), [(mark, colour, name) for _, mark, colour, name in COMPARISONS])
    return figure_of(axes)


def _course(line: Line, log: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds: one row per epoch and member, with the columns that are drawn."""
    own = log[log["key"].isin(line.keys)]
    if own.empty:
        return own.set_index("epoch")
    numbers = own.astype(dict.fromkeys(("value", "weight", "running_mean"), float)).sort_values(["key", "epoch"])
    jobs = numbers.groupby(["key", "member"])
    siblings = numbers.groupby(["key", "epoch", numbers["member"].str.rpartition(" / ")[0]])
    numbers = numbers.assign(
        weight=numbers["weight"] / siblings["weight"].transform("sum"),
        **{name: numbers[name] / jobs[name].transform("first") for name in ("value", "running_mean")},
    ).replace([np.inf, -np.inf], np.nan)
    return numbers.groupby(["epoch", "member"])[[name for name, _ in COLUMNS]].mean().reset_index("member")


def _panels(courses: dict[str, pd.DataFrame], board: Board) -> Figure:
    """One row per ensemble, one column per quantity, one curve per member."""
    names = list(dict.fromkeys(name for course in courses.values() for name in course["member"]))
    hues = {name: HUES[index % len(HUES)] for index, name in enumerate(names)}
    top, bottom = 0.75 + 0.2 * -(-len(names) // 3), 0.4
    whole = top + len(courses) * (PANEL + GAP) + bottom
    figure = Figure(figsize=(WIDTH, whole))
    title = f"Members of the ensembles: {board.dataset}, {board.backbone}"
    figure.text(0.1 / WIDTH, 1 - 0.08 / whole, title, va="top", weight="bold", size=10)
    for index, (name, hue) in enumerate(hues.items()):
        x, y = 0.12 + 2.2 * (index % 3), whole - 0.33 - 0.2 * (index // 3)
        figure.text(x / WIDTH, y / whole, "■", color=hue, va="top", size=10)
        figure.text((x + 0.16) / WIDTH, y / whole, _short(name), va="top", size=8.5)
    for column, (_, name) in enumerate(COLUMNS):
        figure.text((0.45 + 2.15 * column) / WIDTH, (whole - top + 0.1) / whole, name, size=8.5, weight="bold")
    for row, (label, course) in enumerate(courses.items()):
        low = whole - top - (row + 1) * (PANEL + GAP)
        figure.text(0.12 / WIDTH, (low + PANEL + 0.16) / whole, textwrap.shorten(label, 90), va="center", size=8.5)
        for column, (field, _) in enumerate(COLUMNS):
            if course[field].notna().any():
                place = ((0.45 + 2.15 * column) / WIDTH, low / whole, 1.75 / WIDTH, PANEL / whole)
                _curves(figure.add_axes(place), course, field, hues)
    figure.text(0.45 / WIDTH, 0.1 / whole, "epoch", size=8.5)
    return figure


def _curves(axes: Axes, course: pd.DataFrame, field: str, hues: dict[str, str]) -> None:
    for name, part in course.groupby("member"):
        axes.plot(part.index, part[field], color=hues[str(name)], linewidth=1.3)
    low, high = course[field].min(), course[field].max()
    spare = max(0.05 * (high - low), 0.05 - (high - low) / 2)  # what hardly moves shall look so
    axes.set_ylim(low - spare, high + spare)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.tick_params(labelsize=7)


def _short(name: str) -> str:
    """A member's label in a third of the width; inside a nested ensemble its own name counts."""
    *outer, own = name.split(" / ")
    return name if len(name) <= 34 else ("… / " if outer else "") + textwrap.shorten(own, 30, placeholder=" …")
