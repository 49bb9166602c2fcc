"""The plots of what quality costs. Each public function is one, as in `leaderboard`."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, Locator, LogLocator, MaxNLocator, NullLocator

from bench.analysis.board_lines import FIRST
from bench.analysis.boards import Board
from bench.analysis.costs import Cost, costs, pareto_front
from bench.report.plots.axes import MOST, WIDTH
from bench.report.plots.looks import Look, looks, name_ends, scattered
from bench.report.plots.svg import INK, Drawing, Logs
from bench.report.tables import Cell, Table, duration, percent
from bench.scoring.names import NONE

__all__ = ["recall_against_cost"]

PANEL, GAP, TOP, BOTTOM = 1.5, 0.55, 0.4, 0.45


class Price(NamedTuple):
    """One thing that is paid."""

    field: str
    """Of a cost."""
    name: str
    least: float
    """By what factor prices must differ, for a panel to say something."""


PRICES = (
    Price("seconds", "seconds to train one seed", 1.05),
    Price("parameters", "parameters, trained and frozen", 1.02),
    Price("bytes", "bytes of an embedding", 1.02),
)


def recall_against_cost(boards: Sequence[Board], logs: Logs) -> Iterator[Drawing]:  # noqa: ARG001
    """Recall@1 against what it costs, on scales where equal steps multiply. Named and joined are the methods that no
    other beats: none is as cheap and has a higher mean. A model ensemble costs what all of its members cost. Times are
    those of the devices below; where these differ, they are only a guide.
    """
    shown = looks(boards)
    for board in boards:
        about, found = (board.dataset, board.backbone), costs(board, board.lines[:MOST])
        panels = [price for price in PRICES if _differs([getattr(one, price.field) for one in found], price.least)]
        if len(found) > 1 and panels:
            yield Drawing(about, _figure(found, panels, board, shown), _numbers(found, panels))
        elif board.lines:
            yield Drawing(about, None, why=f"There is no figure of cost: {_why(found)}.")


def _why(found: Sequence[Cost]) -> str:
    return "fewer than two methods are trained" if len(found) < 2 else "all methods cost the same, or nothing is known"


def _differs(prices: Sequence[float], least: float) -> bool:
    known = [price for price in prices if price > 0]
    return len(known) > 1 and max(known) > least * min(known)


def _figure(found: Sequence[Cost], panels: Sequence[Price], board: Board, shown: Mapping[str, Look]) -> Figure:
    whole = TOP + len(panels) * (PANEL + GAP) - GAP + BOTTOM
    figure = Figure(figsize=(WIDTH, whole))
    title = f"Recall@1 against cost: {board.dataset}, {board.backbone}"
    figure.text(0.1 / WIDTH, 1 - 0.08 / whole, title, va="top", weight="bold", size=10)
    for number, price in enumerate(panels):
        low = whole - TOP - PANEL - number * (PANEL + GAP)
        axes = figure.add_axes((0.65 / WIDTH, low / whole, 3.5 / WIDTH, PANEL / whole))
        _panel(axes, found, price, shown)
    return figure


def _panel(axes: Axes, found: Sequence[Cost], price: Price, shown: Mapping[str, Look]) -> None:
    known = [one for one in found if getattr(one, price.field) > 0]
    places = np.array([(getattr(one, price.field), 100 * one.line.scores[FIRST].mean) for one in known])
    own = [shown[one.line.method] for one in known]
    front = pareto_front(places[:, 0].tolist(), places[:, 1].tolist())[::-1]
    (least, low), (most, high) = places.min(axis=0), places.max(axis=0)
    spare = (most / least) ** 0.05
    axes.set_xscale("log")
    above = 0.06 * (high - low) + 0.1
    axes.set(xlim=(least / spare, most * spare), ylim=(low - above, high + above))
    axes.set(xlabel=price.name, ylabel="Recall@1 (%)")
    axes.xaxis.set_major_locator(_ticks(sorted(set(places[:, 0].tolist()))))
    axes.xaxis.set_major_formatter(FuncFormatter(_short))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.step(places[front[::-1], 0], places[front[::-1], 1], where="post", color=INK, linewidth=0.9, linestyle="--")
    rest = [at for at in range(len(known)) if at not in front]
    scattered(axes, places[rest], [own[at] for at in rest], size=4.5, alpha=0.7)
    scattered(axes, places[front], [own[at] for at in front], size=6.5)
    name_ends(axes, places[front].tolist(), [own[at] for at in front], [known[at].line.label for at in front])


def _ticks(prices: Sequence[float]) -> Locator:
    """At the prices themselves where they are few, else at round numbers."""
    span = prices[-1] / prices[0]
    if len(prices) < 5 and all(high > 1.25 * low for low, high in pairwise(prices)):
        return FixedLocator(prices)
    if span < 5:
        return MaxNLocator(5, steps=[1, 2, 5, 10])
    return LogLocator(10, subs=(1, 2, 5) if span < 50 else (1,))


def _short(value: float, _: object = None) -> str:
    """A number that is quick to read: "0.5", "2,048", "120 k", "25 M"."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= max(size, 1e4):
            return f"{value / size:.3g}{unit}"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _numbers(found: Sequence[Cost], panels: Sequence[Price]) -> Table:
    scores = [one.line.scores[FIRST].mean for one in found]
    best = {at: set[str]() for at in range(len(found))}
    for price in panels:
        for at in pareto_front([getattr(one, price.field) or float("nan") for one in found], scores):
            best[at].add(price.field)
    rows = []
    for at, (one, score) in enumerate(zip(found, scores, strict=True)):
        cells = [_price(price, getattr(one, price.field), price.field in best[at]) for price in PRICES]
        rows.append((Cell(one.line.label, one.line.label.lower()), Cell(percent(score, float("nan")), score), *cells))
    return Table(("Objective", "Recall@1", "To train", "Parameters", "Bytes of an embedding"), tuple(rows))


def _price(price: Price, value: float, marked: bool) -> Cell:
    if np.isnan(value):
        return Cell(NONE, -1)
    return Cell(duration(value) if price.field == "seconds" else f"{value:,.0f}", value, marked=marked)
