"""Every plot, drawn, named and captioned."""

from collections.abc import Sequence
from types import FunctionType
from typing import Any, NamedTuple

from bench.analysis.boards import Board
from bench.report.files import file_name
from bench.report.plots import ensembles, leaderboard, literature
from bench.report.plots.axes import MOST
from bench.report.plots.svg import Logs, style, to_svg

__all__ = ["Drawn", "Picture", "drawn", "pictures"]


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


def drawn(boards: Sequence[Board]) -> Drawn:
    """Whose logs the plots of `boards` need."""
    first = (key for board in boards for line in board.lines[:MOST] for key in line.keys)
    fused = (key for board in boards for line in ensembles.followed(board) for key in line.keys)
    return Drawn(frozenset(first), frozenset(fused))


def pictures(boards: Sequence[Board], logs: Logs) -> list[Picture]:
    """What every plot draws of `boards`, in the order of the code; captions are their docstrings' first lines."""
    found: dict[str, Picture] = {}
    with style():
        for plot in (function for module in (leaderboard, ensembles, literature) for function in _as_written(module)):
            caption = str(plot.__doc__).strip().split("\n")[0]
            for about, figure in plot(boards, logs):
                name = file_name((plot.__name__, *about), taken=found.keys())
                found[name] = Picture(about, name, caption, to_svg(figure, name=name))
    return list(found.values())


def _as_written(module: Any) -> list[FunctionType]:
    return sorted((getattr(module, name) for name in module.__all__), key=lambda plot: plot.__code__.co_firstlineno)
