"""Every plot, drawn, named and captioned."""

import hashlib
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

import pandas as pd

from bench.report import plots
from bench.report.boards import Board
from bench.report.svg import style, to_svg

__all__ = ["Picture", "pictures"]


class Picture(NamedTuple):
    """One plot as an <svg> element, with the name of its file."""

    about: tuple[str, ...]
    name: str
    caption: str
    svg: str


def pictures(boards: Sequence[Board], history: pd.DataFrame) -> list[Picture]:
    """What every function in `plots.__all__` draws of `boards`; the caption is its docstring's first line."""
    found: dict[str, Picture] = {}
    as_written = sorted(plots.__all__, key=lambda plot: int(getattr(plots, plot).__code__.co_firstlineno))
    with style():
        for plot in as_written:
            caption = str(getattr(plots, plot).__doc__).strip().split("\n")[0]
            for about, figure in getattr(plots, plot)(boards, history):
                name = _file_name((plot, *about), taken=found.keys())
                found[name] = Picture(about, name, caption, to_svg(figure, name=name))
    return list(found.values())


def _file_name(parts: Sequence[str], *, taken: Collection[str]) -> str:
    """A name any file system takes; where two labels differ only in what it cannot take, the second gets a hash."""
    readable = "-".join(re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in parts)
    if f"{readable}.svg" not in taken:
        return f"{readable}.svg"
    return f"{readable}-{hashlib.sha256(repr(tuple(parts)).encode()).hexdigest()[:6]}.svg"
