"""The plots of single test classes. Each public function is one, as in `leaderboard`."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.analysis.boards import Board
from bench.analysis.class_losses import ClassLosses, class_losses, held_by_class
from bench.report.plots.axes import canvas, figure_of, key, within, wrapped
from bench.report.plots.looks import Look, looks, scattered
from bench.report.plots.svg import INK, Drawing, Logs
from bench.report.tables import Cell, Table, percent

__all__ = ["classes_lost"]

WORST = 3
NO_QUERIES = (
    "There is no figure of single classes: no scores of single queries are stored of the leader and another method"
)


def classes_lost(boards: Sequence[Board], logs: Logs) -> Iterator[Drawing]:
    """Which classes a method loses against the leader: Recall@1 of each test class less the leader's, means over seeds.
    The line spans all classes, the bar the middle half, the mark is the median. A class has few queries, so a single
    one may differ by chance.
    """
    shown = looks(boards)
    for board in boards:
        about, held = (board.dataset, board.backbone), held_by_class(board)
        if len(held) < 2:
            continue
        if found := class_losses(board, logs.classes):
            yield Drawing(about, _figure(found, held[0].label, board, shown), _numbers(found, held[0].label))
        else:
            yield Drawing(about, None, why=f"{NO_QUERIES}.")


def _figure(found: Sequence[ClassLosses], leader: str, board: Board, shown: Mapping[str, Look]) -> Figure:
    labels = [wrapped(one.line.label) for one in found]
    title = f"Classes against {within(leader, 28)}: {board.dataset}, {board.backbone}"
    own = [shown[one.line.method] for one in found]
    urls = [look.url for look in own]
    axes = canvas(["\n".join([label, ""]) if "\n" not in label else label for label in labels], title, urls=urls)
    ends = np.array([np.nanquantile(one.differences, (0, 0.25, 0.5, 0.75, 1)) for one in found]) * 100
    y = np.arange(len(found)) + 0.5
    hues = [look.hue for look in own]
    axes.hlines(y, ends[:, 0], ends[:, 4], colors=hues, linewidth=1, urls=urls)
    axes.hlines(y, ends[:, 1], ends[:, 3], colors=hues, linewidth=9, alpha=0.45, urls=urls)
    scattered(axes, np.column_stack([ends[:, 2], y]), own, size=6)
    axes.axvline(0, color=INK, linewidth=1.2)
    for at, one in zip(y, found, strict=True):
        count = int(np.isfinite(one.differences).sum())
        said = f"loses {one.lost}, wins {one.won} of {count}"
        axes.text(0.995, at - 0.33, said, transform=axes.get_yaxis_transform(), ha="right", va="center", size=7.5)
    axes.set_xlabel("points of Recall@1 of a class, less the leader's")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    key(figure_of(axes), [("━", INK, "all classes"), ("■", INK, "middle half"), ("●", INK, "median")])
    return figure_of(axes)


def _numbers(found: Sequence[ClassLosses], leader: str) -> Table:
    rows = []
    for one in found:
        median = float(np.nanmedian(one.differences))
        order = [int(at) for at in np.argsort(one.differences, kind="stable")[:WORST]]
        worst = ", ".join(f"{at} ({_signed(one.differences[at])})" for at in order if one.differences[at] < 0)
        count = int(np.isfinite(one.differences).sum())
        rows.append(
            (
                Cell(one.line.label, one.line.label.lower()),
                *(Cell(str(number), number) for number in (one.lost, count - one.lost - one.won, one.won)),
                Cell(_signed(median), median),
                Cell(worst or "none"),
            )
        )
    heads = ("Objective", "Classes lost", "Equal", "Won", "Median", f"Most lost to {leader}, by the data's number")
    return Table(heads, tuple(rows), words=1)


def _signed(difference: float) -> str:
    return percent(difference, float("nan"), sign="+")
