"""The plots of a leaderboard. Each public function is one: `(boards, logs) -> Iterator[Drawing]`.

The first paragraph of its docstring is its caption, and its name begins the names of its files.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.analysis.board_lines import Line
from bench.analysis.boards import Board
from bench.report.plots.axes import COLOURS, MOST, ROW, WIDTH, canvas, figure_of, key, wrapped
from bench.report.plots.looks import NAME, Look, looks, name_ends
from bench.report.plots.svg import INK, Drawing, Logs
from bench.report.tables import kind_name
from bench.scoring.names import metric_name

__all__ = ["heat_map", "nmi", "recall_at_1", "training"]

DASHES = {"loss": "-", "ensemble": (0, (5, 2))}


def recall_at_1(boards: Sequence[Board], logs: Logs) -> Iterator[Drawing]:  # noqa: ARG001
    """Recall@1 with its 95 % interval over seeds, and the chance level."""
    yield from _bars(boards, "recall_at_1")


def nmi(boards: Sequence[Board], logs: Logs) -> Iterator[Drawing]:  # noqa: ARG001
    """NMI with its 95 % interval over seeds, and the chance level."""
    yield from _bars(boards, "nmi")


def heat_map(boards: Sequence[Board], logs: Logs) -> Iterator[Drawing]:  # noqa: ARG001
    """Recall@1 (%) of what is on all datasets, but for controls; colour runs from the lowest to the highest of each."""
    for backbone in sorted({board.backbone for board in boards}):
        scores = {
            board.dataset: {
                line.label: 100 * line.scores["recall_at_1"].mean
                for line in board.lines
                if "recall_at_1" in line.scores and line.kind != "control"
            }
            for board in boards
            if board.backbone == backbone
        }
        table = pd.DataFrame({dataset: pd.Series(column, dtype=float) for dataset, column in scores.items() if column})
        common = table.dropna()
        if table.shape[1] > 1 and len(common):
            yield Drawing((backbone,), _heat(common, f"Recall@1 (%), {backbone}"))


def training(boards: Sequence[Board], logs: Logs) -> Iterator[Drawing]:
    """Training loss relative to the first epoch, mean over seeds; ensembles dashed; compare shapes, not heights."""
    relative = _relative(logs.epochs)
    places = {
        key: (number, line.label)
        for number, board in enumerate(boards)
        for line in board.lines[:MOST]
        for key in line.keys
    }
    drawn = relative[relative["key"].isin(list(places))]
    number, label = (drawn["key"].map({key: place[part] for key, place in places.items()}) for part in (0, 1))
    means = drawn.groupby([number.rename("board"), label.rename("label"), "epoch"])["relative"].mean()
    found, shown = set(number), looks(boards)
    for index, board in enumerate(boards):
        if index in found:
            curves = means.loc[index].unstack("epoch")
            if curves.shape[1] > 1:
                own = {line.label: shown[line.method] for line in board.lines}
                yield Drawing((board.dataset, board.backbone), _curves(curves, board, own))


def _bars(boards: Sequence[Board], metric: str) -> Iterator[Drawing]:
    shown = looks(boards)
    for board in boards:
        scored = [line for line in board.lines if metric in line.scores]
        lines = sorted(scored, key=lambda line: -line.scores[metric].mean)[:MOST]
        if lines:
            title = f"{metric_name(metric)}: {board.dataset}, {board.backbone}"
            of_all = f", best {len(lines)} of {len(scored):,}" if len(lines) < len(scored) else ""
            urls = [shown[line.method].url for line in lines]
            axes = canvas([wrapped(line.label) for line in lines], title + of_all, urls=urls)
            _bar_chart(axes, lines, metric, board.chance.get(metric), urls)
            yield Drawing((board.dataset, board.backbone), figure_of(axes))


def _bar_chart(axes: Axes, lines: Sequence[Line], metric: str, chance: float | None, urls: Sequence[str]) -> None:
    means = np.array([100 * line.scores[metric].mean for line in lines])
    widths = np.nan_to_num([100 * line.scores[metric].half_width for line in lines])
    y = np.arange(len(lines)) + 0.5
    colours = [COLOURS[line.kind] for line in lines]
    # Thick lines instead of `barh`: one artist, not one a bar, which a report of many boards feels.
    axes.hlines(y, 0, means, colors=colours, linewidth=0.7 * 72 * ROW, alpha=0.75, urls=urls)
    axes.hlines(y, np.maximum(means - widths, 0), means + widths, colors=INK, linewidth=1.4, urls=urls)
    if chance is not None:
        axes.axvline(100 * chance, color=INK, linestyle=":", linewidth=1.2)
    axes.set_xlim(0, min(100, 1.03 * float((means + widths).max()) or 1))
    axes.set_xlabel(f"{metric_name(metric)} (%)")
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    kinds = {line.kind for line in lines}
    marks = [("■", colour, kind_name(kind)) for kind, colour in COLOURS.items() if kind in kinds]
    key(figure_of(axes), marks + ([] if chance is None else [("┊", INK, f"chance ({100 * chance:.1f} %)")]))


def _heat(table: pd.DataFrame, title: str) -> Figure:
    span = (table.max() - table.min()).replace(0, 1)
    place = (table - table.min()) / span
    ranked = place.mean(axis=1).sort_values(ascending=False, kind="stable").index[:MOST]
    names = [textwrap.shorten(name, 24, placeholder=" …") for name in table.columns]
    upright = 4 * max(map(len, names)) * len(names) > 180
    bottom = 0.3 + 0.06 * max(map(len, names)) if upright else 0.35
    axes = canvas([wrapped(label) for label in ranked], title, top=0.4, bottom=bottom)
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
    return figure_of(axes)


def _relative(history: pd.DataFrame) -> pd.DataFrame:
    """Columns key, epoch, relative: the loss over that of the job's first epoch, where that is positive and finite."""
    ordered = history.astype({"loss": float}).sort_values(["key", "epoch"])
    first = ordered.groupby("key")["loss"].transform("first")
    relative = (ordered["loss"] / first).where((first > 0) & np.isfinite(first))
    return ordered.assign(relative=relative).replace([np.inf, -np.inf], np.nan).dropna(subset=["relative"])


def _curves(curves: pd.DataFrame, board: Board, shown: Mapping[str, Look]) -> Figure:
    """`curves`: one row per label, one column per epoch; `shown`: how each label looks."""
    kinds = {line.label: line.kind for line in board.lines}
    ends = curves.ffill(axis=1).iloc[:, -1].sort_values(ascending=False, kind="stable")
    axes = _beside_names(len(ends), f"Training loss: {board.dataset}, {board.backbone}")
    own = [shown[label] for label in ends.index]
    hues = [look.hue for look in own]
    dashes = [DASHES.get(kinds[label], "-") for label in ends.index]
    epochs, heights = curves.columns.to_numpy(dtype=float), curves.loc[ends.index].to_numpy(dtype=float)
    paths = [np.column_stack([epochs, height])[~np.isnan(height)] for height in heights]
    urls = [look.url for look in own]
    axes.add_collection(LineCollection(paths, colors=hues, linestyles=dashes, linewidths=1.4, urls=urls))
    first, last = float(curves.columns[0]), float(curves.columns[-1])
    axes.set(xlim=(first, last), ylim=(0, 1.03 * float(curves.max().max())))
    axes.set(xlabel="epoch", ylabel="training loss / that of epoch 1")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    name_ends(axes, [path[-1] for path in paths], own, list(ends.index))
    return figure_of(axes)


def _beside_names(count: int, title: str) -> Axes:
    height = max(2.6, NAME * count + 0.3)
    whole = height + 0.9
    figure = Figure(figsize=(WIDTH, whole))
    figure.text(0.1 / WIDTH, 1 - 0.08 / whole, title, va="top", weight="bold", size=10)
    return figure.add_axes((0.6 / WIDTH, 0.5 / whole, 3.5 / WIDTH, height / whole))
