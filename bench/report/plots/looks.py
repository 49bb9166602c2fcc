"""How each method looks: one colour and one mark, the same in every figure of a report."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import ArrayLike

from bench.analysis.boards import Board
from bench.report.method_numbers import method_numbers
from bench.report.plots.axes import HUES, figure_of, spread, within
from bench.report.plots.svg import INK, METHOD

__all__ = ["NAME", "Look", "looks", "name_ends", "scattered"]

NAME = 0.17
"""Inches from one name to the next."""

OWN = HUES[:-1]
MARKS = ("o", "s", "^", "D", "v", "P", "X")
SIGNS = ("●", "■", "▲", "◆", "▼", "✚", "✖")


class Look(NamedTuple):
    """Of one method: colour alone tells nothing apart."""

    hue: str
    mark: str
    """As matplotlib names it."""
    sign: str
    """The mark as a letter."""
    number: int
    """Of the method: what is drawn of it in an SVG says so."""

    @property
    def url(self) -> str:
        """What tells matplotlib's SVG whose an artist is."""
        return f"{METHOD}{self.number}"


def looks(boards: Sequence[Board]) -> Mapping[str, Look]:
    """By `method` of a line. The best of the first board come first, and look least alike; what is not trained has ink.

    With more than 49 methods looks come again: names stand beside the marks wherever they matter.
    """
    numbers = method_numbers(boards)
    trained = {line.method for board in boards for line in board.lines if not line.outside}
    return {
        method: _look(number) if method in trained else _plain(number, number - len(trained))
        for method, number in numbers.items()
    }


def _look(number: int) -> Look:
    turn = number // len(OWN) % len(MARKS)
    return Look(OWN[number % len(OWN)], MARKS[turn], SIGNS[turn], number)


def _plain(number: int, at: int) -> Look:
    return Look(INK, MARKS[at % len(MARKS)], SIGNS[at % len(MARKS)], number)


def scattered(
    axes: Axes, places: ArrayLike, shown: Sequence[Look], *, size: float, hollow: bool = False, **style: Any
) -> None:
    """The marks of methods at `places` [N, 2]: one artist for each mark, which many boards feel."""
    points = np.asarray(places, float)
    for mark in dict.fromkeys(look.mark for look in shown):
        own = [at for at, look in enumerate(shown) if look.mark == mark]
        hues = [shown[at].hue for at in own]
        x, y = points[own].T
        marks = axes.scatter(x, y, s=size**2, marker=mark, linewidths=1, zorder=2.5, edgecolors=hues, **style)
        marks.set_urls([shown[at].url for at in own])
        marks.set_facecolor("none" if hollow else hues)


def name_ends(axes: Axes, ends: Sequence[ArrayLike], shown: Sequence[Look], names: Sequence[str]) -> None:
    """Names beside the axes, of points in descending order: none covers another, each is tied to its point."""
    points = axes.transAxes.inverted().transform(axes.transData.transform(np.asarray(ends, float)))
    height = figure_of(axes).get_figheight() * axes.get_position().height
    places = spread(points[:, 1].tolist(), NAME / height, 0.0)
    ties = [[(x, y), (1, y), (1.05, place)] for (x, y), place in zip(points, places, strict=True)]
    hues = [look.hue for look in shown]
    inside: dict[str, Any] = {"clip_on": False, "transform": axes.transAxes}
    urls = [look.url for look in shown]
    drawn = LineCollection(ties, colors=hues, linewidths=0.7, alpha=0.6, urls=urls, **inside)
    axes.add_collection(drawn, autolim=False)
    scattered(axes, [(1.05, place) for place in places], shown, size=4, **inside)
    for name, place, url in zip(names, places, urls, strict=True):
        axes.text(1.075, place, within(name, 38), fontsize=8, va="center", transform=axes.transAxes, url=url)
