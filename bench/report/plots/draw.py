"""Every plot, drawn, named and captioned."""

from collections.abc import Sequence
from types import FunctionType
from typing import Any, NamedTuple

from bench.analysis.boards import Board
from bench.report.files import file_name
from bench.report.plots import classes, costs, ensembles, leaderboard, literature, pairs
from bench.report.plots.axes import MOST
from bench.report.plots.svg import Logs, style, to_svg
from bench.report.tables import Table

__all__ = ["Drawn", "Picture", "drawn", "pictures"]

MODULES = (pairs, costs, leaderboard, ensembles, classes, literature)
"""In the order of the page."""


class Drawn(NamedTuple):
    """Keys of the jobs whose logs are drawn: of thousands of jobs few are."""

    epochs: frozenset[str]
    members: frozenset[str]


class Picture(NamedTuple):
    """One plot as an <svg> element, with the name of its file."""

    about: tuple[str, ...]
    name: str
    caption: str
    svg: str
    """Empty where there is nothing to draw."""
    table: Table | None = None
    """Its numbers, where no other table has them."""
    why: str = ""
    """Why there is nothing to draw, in a sentence."""


def drawn(boards: Sequence[Board]) -> Drawn:
    """Whose logs the plots of `boards` need."""
    first = (key for board in boards for line in board.lines[:MOST] for key in line.keys)
    fused = (key for board in boards for line in ensembles.followed(board) for key in line.keys)
    return Drawn(frozenset(first), frozenset(fused))


def pictures(boards: Sequence[Board], logs: Logs) -> list[Picture]:
    """What every plot draws of `boards`, in the order of the code; captions are their docstrings'
    first paragraphs."""
    found: dict[str, Picture] = {}
    with style():
        for plot in (function for module in MODULES for function in _as_written(module)):
            caption = " ".join(str(plot.__doc__).split("\n\n")[0].split())
            for about, figure, numbers, why in plot(boards, logs):
                name = file_name((plot.__name__, *about), taken=found.keys())
                svg = to_svg(figure, name=name) if figure else ""
                found[name] = Picture(about, name, caption, svg, numbers, why)
    return list(found.values())


def _as_written(module: Any) -> list[FunctionType]:
    return sorted((getattr(module, name) for name in module.__all__), key=lambda plot: plot.__code__.co_firstlineno)
