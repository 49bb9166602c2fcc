"""The plots of what papers report. Each public function is one, as in `leaderboard`."""

import math
import textwrap
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.analysis.board_lines import FIRST
from bench.analysis.boards import Board
from bench.analysis.literature import Literature, literature
from bench.analysis.published import Result
from bench.report.literature import about
from bench.report.plots.axes import HUES, WIDTH, figure_of, key
from bench.report.plots.svg import INK, Drawing, Logs

__all__ = ["reported"]

FEWEST = 20
"""Published values of Recall@1 that are worth a plot."""
OTHERS = HUES[7]
UNSTATED = "trunk not stated"
SHAPES = {"individual": "o", "loss_ensemble": "^", "model_ensemble": "^"}
APART = 0.18
"""Years between the dots of two trunks in the same year."""
LONGEST = 24
"""Characters of the measured line's name."""


def reported(boards: Sequence[Board], logs: Logs) -> Iterator[Drawing]:  # noqa: ARG001
    """Recall@1 that papers report, triangles for ensembles; the line is measured here, under a protocol of its own."""
    for board in boards:
        found = literature(board)
        known = [one.result for one in found.beside if FIRST in one.result.scores] if found else []
        if found and len(known) >= FEWEST:
            yield Drawing(about(board), _figure(found, known))


def _figure(found: Literature, known: Sequence[Result]) -> Figure:
    axes = _axes(f"Reported over the years: {found.dataset}, all trunks")
    trunks = sorted({_trunk(one) for one in known}, key=lambda name: (name == UNSTATED, name))
    hues = {name: OTHERS if name == UNSTATED else HUES[place % (len(HUES) - 1)] for place, name in enumerate(trunks)}
    for place, (name, hue) in enumerate(hues.items()):
        own = [one for one in known if _trunk(one) == name]
        beside = APART * (place - (len(trunks) - 1) / 2)
        for shape in sorted({SHAPES[one.kind] for one in own}):
            dots = [(one.year + beside, 100 * one.scores[FIRST]) for one in own if SHAPES[one.kind] == shape]
            years, recalls = zip(*dots, strict=True)
            axes.scatter(years, recalls, s=18, marker=shape, color=hue, alpha=0.75, linewidths=0)
    measured = _measured(axes, found)
    key(figure_of(axes), [*(("●", hue, name) for name, hue in hues.items()), ("━", INK, measured)])
    return figure_of(axes)


def _trunk(result: Result) -> str:
    return result.trunk or UNSTATED


def _axes(title: str) -> Axes:
    whole = 3.6
    figure = Figure(figsize=(WIDTH, whole))
    figure.text(0.1 / WIDTH, 1 - 0.08 / whole, title, va="top", weight="bold", size=10)
    axes = figure.add_axes((0.6 / WIDTH, 0.48 / whole, 1 - 0.8 / WIDTH, 1 - 1.12 / whole))
    axes.set(xlabel="year", ylabel="Recall@1 (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return axes


def _measured(axes: Axes, found: Literature) -> str:
    """The mean of the first measured line, with its interval as a band; how it is called under the title."""
    line = found.measured[0]
    score = line.scores[FIRST]
    axes.axhline(100 * score.mean, color=INK, linewidth=1.2)
    if not math.isnan(score.half_width):
        ends = (100 * max(0.0, score.mean - score.half_width), 100 * min(1.0, score.mean + score.half_width))
        axes.axhspan(*ends, color=INK, alpha=0.15, linewidth=0)
    return f"here: {textwrap.shorten(line.label, LONGEST, placeholder=' …')}"
