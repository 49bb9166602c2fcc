"""Every plot, drawn, named and captioned."""

from collections.abc import Sequence
from types import FunctionType
from typing import Any, NamedTuple

from bench.analysis.boards import Board
from bench.report.files import file_name
from bench.report.plots import ensembles, leaderboard
from bench.report.plots.svg import Logs, style, to_svg

__all__ = ["Picture", "pictures"]


class Picture(NamedTuple):
    """One plot as an <svg> element, with the name of its file."""

    about: tuple[str, ...]
    name: str
    caption: str
    svg: str


def pictures(boards: Sequence[Board], logs: Logs) -> list[Picture]:
    """What every plot draws of `boards`, in the order of the code; captions are their docstrings' first lines."""
    found: dict[str, Picture] = {}
    with style():
        for plot in (function for module in (leaderboard, ensembles) for function in _as_written(module)):
            caption = str(plot.__doc__).strip().split("\n")[0]
            for about, figure in plot(boards, logs):
                name = file_name((plot.__name__, *about), taken=found.keys())
                found[name] = Picture(about, name, caption, to_svg(figure, name=name))
    return list(found.values())


def _as_written(module: Any) -> list[FunctionType]:
    return sorted((getattr(module, name) for name in module.__all__), key=lambda plot: plot.__code__.co_firstlineno)
