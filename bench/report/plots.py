"""The plots of a report. Each public function is one: `(boards, history) -> Iterator[Drawing]`.

The first line of its docstring is its caption, and its name begins the names of its files.
"""

import textwrap
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bench.report.boards import Board, Line
from bench.report.svg import INK, Drawing
from bench.report.table import kind_name, metric_name

__all__ = ["heat_map", "nmi", "recall_at_1", "training"]

# Okabe and Ito, "Color Universal Design", 2008: told apart with any colour vision.
COLOURS = {"loss": "#0072b2", "ensemble": "#e69f00", "model_ensemble": "#009e73"}
DASHES = {"loss": "-", "ensemble": (0, (5, 2))}
HUES = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#56b4e9", "#949494")
MOST = 40
WIDTH = 6.8
ROW = 0.21
NAME = 0.17


def recall_at_1(boards: Sequence[Board], history: pd.DataFrame) -> Iterator[Drawing]:  # noqa: ARG001
    """Recall@1 with its 95 % interval over seeds, and the chance level."""
    yield from _bars(boards, "recall_at_1")


def nmi(boards: Sequence[Board], history: pd.DataFrame) -> Iterator[Drawing]:  # noqa: ARG001
    """NMI with its 95 % interval over seeds, and the chance level."""
    yield from _bars(boards, "nmi")


def heat_map(boards: Sequence[Board], history: pd.DataFrame) -> Iterator[Drawing]:  # noqa: ARG001
    """Recall@1 (%) of every objective on every dataset; colour runs from the lowest to the highest of each column."""
    for backbone in sorted({board.backbone for board in boards}):
        scores = {
            board.dataset: {
                line.label: 100 * line.scores["recall_at_1"].mean
                for line in board.lines
                if "recall_at_1" in line.scores
            }
            for board in boards
            if board.backbone == backbone
        }
        table = pd.DataFrame({dataset: pd.Series(column, dtype=float) for dataset, column in scores.items() if column})
        if table.shape[1] > 1:
            yield Drawing((backbone,), _heat(table, f"Recall@1 (%), {backbone}"))


def training(boards: Sequence[Board], history: pd.DataFrame) -> Iterator[Drawing]:
    """Training loss relative to the first epoch, mean over seeds; ensembles dashed; scales differ: compare shapes."""
    relative = _relative(history)
    places = {
        key: (number, line.label)
        for number, board in enumerate(boards)
        for line in board.lines[:MOST]
        for key in line.keys
    }
    drawn = relative[relative["key"].isin(list(places))]
    number, label = (drawn["key"].map({key: place[part] for key, place in places.items()}) for part in (0, 1))
    means = drawn.groupby([number.rename("board"), label.rename("label"), "epoch"])["relative"].mean()
    found = set(number)
    for index, board in enumerate(boards):
        if index in found:
            curves = means.loc[index].unstack("epoch")
            if curves.shape[1] > 1:
                yield Drawing((board.dataset, board.backbone), _curves(curves, board))


def _bars(boards: Sequence[Board], metric: str) -> Iterator[Drawing]:
    for board in boards:
        lines = sorted(
            (line for line in board.lines if metric in line.scores), key=lambda line: -line.scores[metric].mean
        )
        if lines:
            yield Drawing((board.dataset, board.backbone), _bar_chart(lines[:MOST], len(lines), metric, board))


def _bar_chart(lines: Sequence[Line], count: int, metric: str, board: Board) -> Figure:
    means = np.array([100 * line.scores[metric].mean for line in lines])
    widths = np.nan_to_num([100 * line.scores[metric].half_width for line in lines])
    of_all = f", best {len(lines)} of {count:,}" if len(lines) < count else ""
    labels = [_wrapped(line.label) for line in lines]
    axes = _canvas(labels, f"{metric_name(metric)}: {board.dataset}, {board.backbone}{of_all}")
    y = np.arange(len(lines)) + 0.5
    colours = [COLOURS.get(line.kind, "#949494") for line in lines]
    # Thick lines instead of `barh`: one artist, not one a bar, which a report of many boards feels.
    axes.hlines(y, 0, means, colors=colours, linewidth=0.7 * 72 * ROW, alpha=0.75)
    axes.hlines(y, np.maximum(means - widths, 0), means + widths, colors=INK, linewidth=1.4)
    chance = board.chance.get(metric)
    if chance is not None:
        axes.axvline(100 * chance, color=INK, linestyle=":", linewidth=1.2)
    axes.set_xlim(0, min(100, 1.03 * float((means + widths).max()) or 1))
    axes.set_xlabel(f"{metric_name(metric)} (%)")
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    _legend(axes, lines, chance)
    return _figure(axes)


def _wrapped(label: str) -> str:
    return "\n".join(textwrap.wrap(label, 34, max_lines=2, placeholder=" …") or [""])


def _canvas(labels: Sequence[str], title: str, *, top: float = 0.62, bottom: float = 0.48) -> Axes:
    """Axes with one row a label, as tall as they need; sizes in inches, so no layout has to be solved."""
    lines = 1 if all("\n" not in label for label in labels) else 1.5
    height = max(ROW * lines * len(labels), 0.6)
    left = 0.25 + 0.078 * max(len(part) for label in labels for part in label.split("\n"))
    figure = Figure(figsize=(WIDTH, top + height + bottom))
    whole = height + top + bottom
    axes = figure.add_axes((left / WIDTH, bottom / whole, 1 - (left + 0.2) / WIDTH, height / whole))
    axes.set_ylim(len(labels), 0)
    # Plain text instead of tick labels: a tick costs matplotlib four times as much.
    axes.yaxis.set_visible(False)
    for y, label in enumerate(labels):
        axes.text(
            -0.08 / (WIDTH - left),
            y + 0.5,
            label,
            ha="right",
            va="center",
            transform=axes.get_yaxis_transform(),
            linespacing=1,
        )
    figure.text(0.1 / WIDTH, 1 - 0.08 / whole, title, va="top", weight="bold", size=10)
    return axes


def _legend(axes: Axes, lines: Sequence[Line], chance: float | None) -> None:
    """One row under the title; text alone, since matplotlib's legend takes a third of the time of the whole plot."""
    kinds = {line.kind for line in lines}
    entries = [("■", colour, kind_name(kind)) for kind, colour in COLOURS.items() if kind in kinds]
    if chance is not None:
        entries.append(("┊", INK, f"chance ({100 * chance:.1f} %)"))
    figure, x = _figure(axes), 0.12
    y = 1 - 0.33 / figure.get_figheight()
    for mark, colour, name in entries:
        figure.text(x / WIDTH, y, mark, color=colour, va="top", size=10, alpha=0.75 if mark == "■" else 1)
        figure.text((x + 0.16) / WIDTH, y, name, va="top", size=8.5)
        x += 0.42 + 0.07 * len(name)


def _figure(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    return figure


def _heat(table: pd.DataFrame, title: str) -> Figure:
    span = (table.max() - table.min()).replace(0, 1)
    place = (table - table.min()) / span
    ranked = place.mean(axis=1).sort_values(ascending=False, kind="stable").index[:MOST]
    names = [textwrap.shorten(name, 24, placeholder=" …") for name in table.columns]
    upright = 4 * max(map(len, names)) * len(names) > 180
    bottom = 0.3 + 0.06 * max(map(len, names)) if upright else 0.35
    axes = _canvas([_wrapped(label) for label in ranked], title, top=0.4, bottom=bottom)
    sns.heatmap(
        place.loc[ranked],
        vmin=-0.15,
        vmax=1,
        cmap="cividis",
        annot=table.loc[ranked],
        fmt=".1f",
        cbar=False,
        xticklabels=names,
        yticklabels=False,
        ax=axes,
        linewidths=0.8,
        linecolor="none",
    )
    axes.tick_params(axis="x", length=0, rotation=40 if upright else 0)
    if upright:
        for name in axes.get_xticklabels():
            name.set(ha="right", rotation_mode="anchor")
    return _figure(axes)


def _relative(history: pd.DataFrame) -> pd.DataFrame:
    """Columns key, epoch, relative: the loss over that of the job's first epoch, where that is positive and finite."""
    ordered = history.astype({"loss": float}).sort_values(["key", "epoch"])
    first = ordered.groupby("key")["loss"].transform("first")
    relative = (ordered["loss"] / first).where((first > 0) & np.isfinite(first))
    return ordered.assign(relative=relative).replace([np.inf, -np.inf], np.nan).dropna(subset=["relative"])


def _curves(curves: pd.DataFrame, board: Board) -> Figure:
    """`curves`: one row a label, one column an epoch."""
    kinds = {line.label: line.kind for line in board.lines}
    ends = curves.ffill(axis=1).iloc[:, -1].sort_values(ascending=False, kind="stable")
    axes = _beside_names(len(ends), f"Training loss: {board.dataset}, {board.backbone}")
    hues = [HUES[index % len(HUES)] for index in range(len(ends))]
    dashes = [DASHES.get(kinds[label], "-") for label in ends.index]
    epochs, heights = curves.columns.to_numpy(dtype=float), curves.loc[ends.index].to_numpy(dtype=float)
    paths = [np.column_stack([epochs, height])[~np.isnan(height)] for height in heights]
    axes.add_collection(LineCollection(paths, colors=hues, linestyles=dashes, linewidths=1.4))
    first, last = float(curves.columns[0]), float(curves.columns[-1])
    axes.set(xlim=(first, last), ylim=(0, 1.03 * float(curves.max().max())))
    axes.set(xlabel="epoch", ylabel="training loss / that of epoch 1")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _name_ends(axes, paths, hues, list(ends.index))
    return _figure(axes)


def _beside_names(count: int, title: str) -> Axes:
    height = max(2.6, NAME * count + 0.3)
    whole = height + 0.9
    figure = Figure(figsize=(WIDTH, whole))
    figure.text(0.1 / WIDTH, 1 - 0.08 / whole, title, va="top", weight="bold", size=10)
    return figure.add_axes((0.6 / WIDTH, 0.5 / whole, 3.5 / WIDTH, height / whole))


def _name_ends(axes: Axes, paths: Sequence[NDArray[np.float64]], hues: Sequence[str], names: Sequence[str]) -> None:
    """Names beside the ends of the curves, spread so that none covers another, each tied to its curve."""
    (first, last), (low, high) = axes.get_xlim(), axes.get_ylim()
    gap = NAME * (high - low) / (_figure(axes).get_figheight() * axes.get_position().height)
    beside = last + 0.05 * (last - first)
    places = _spread([path[-1, 1] for path in paths], gap, low)
    ties = [[path[-1], (last, path[-1, 1]), (beside, y)] for path, y in zip(paths, places, strict=True)]
    axes.add_collection(LineCollection(ties, colors=hues, linewidths=0.8, clip_on=False), autolim=False)
    for name, y in zip(names, places, strict=True):
        shown = textwrap.shorten(name, 38, placeholder=" …")
        axes.text(beside + 0.01 * (last - first), y, shown, fontsize=8, va="center")


def _spread(values: Iterable[float], gap: float, low: float) -> list[float]:
    """Descending `values`, moved to lie at least `gap` apart and not below `low`."""
    placed: list[float] = []
    for value in values:
        placed.append(min(value, placed[-1] - gap) if placed else value)
    for index in range(len(placed) - 1, -1, -1):
        floor = low if index == len(placed) - 1 else placed[index + 1] + gap
        placed[index] = max(placed[index], floor)
    return placed
