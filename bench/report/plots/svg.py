"""A figure as SVG text: the same bytes every time, and ink that follows the page, light or dark."""

import io
import re
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import NamedTuple

import pandas as pd
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from bench.analysis.class_scores import ClassScores
from bench.report.files import GENERATOR
from bench.report.tables import Table

__all__ = ["INK", "METHOD", "Drawing", "Logs", "standalone", "style", "to_svg"]

METHOD = "method:"
"""What the address of an artist begins with, and its method's number follows: no link, but a name in the SVG."""
INK = "#0f1e2d"
"""Colour of text and lines in a figure; in the SVG it becomes the colour of the text around it."""

# With its own paper too: a viewer may be white although its owner prefers dark.
OWN_INK = (
    "<style>svg { color: #1f2328; background: #ffffff } "
    "@media (prefers-color-scheme: dark) { svg { color: #e6edf3; background: #0f1419 } }</style>"
)
FONTS = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"


class Logs(NamedTuple):
    """What jobs wrote of their course."""

    epochs: pd.DataFrame
    """One row per epoch: key, epoch, loss."""
    members: pd.DataFrame
    """One row per epoch and ensemble member: key, epoch, member, value, weight, running_mean."""
    classes: Mapping[str, ClassScores] = MappingProxyType({})
    """As `analysis.class_losses.stored_classes` gives them."""


class Drawing(NamedTuple):
    """A figure and what it is about: (dataset, backbone) puts it on that board, anything else above all boards."""

    about: tuple[str, ...]
    figure: Figure | None
    """None where there is nothing to draw, and a reader would look for it."""
    table: Table | None = None
    """Its numbers, where no other table has them."""
    why: str = ""
    """Why there is no figure, in a sentence."""


def style() -> AbstractContextManager[None]:
    """Matplotlib's settings while plots are made: ink that `to_svg` finds, text that stays text, no box."""
    return rc_context(
        {
            "svg.fonttype": "none",
            "text.parse_math": False,
            "font.family": "DejaVu Sans",
            "font.size": 9,
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.facecolor": "none",
            "figure.facecolor": "none",
            "savefig.facecolor": "none",
        }
    )


def to_svg(figure: Figure, *, name: str) -> str:
    """`figure` as an <svg> element for a page; `name` keeps its ids apart from those of other figures there."""
    text = io.StringIO()
    with rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        # Only the width of a label is measured with this font; the reader's fonts draw it.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.set_canvas(FigureCanvasSVG(figure))
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return _follow_the_page(text.getvalue())


def standalone(svg: str) -> str:
    """The element of `to_svg` as a file of its own, with ink and paper for those who prefer light or dark."""
    start = svg.index(">") + 1
    return f'<?xml version="1.0" encoding="utf-8"?>\n{svg[:start]}\n<!-- {GENERATOR} -->\n{OWN_INK}{svg[start:]}'


def _follow_the_page(text: str) -> str:
    element = re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg ") :], flags=re.DOTALL)
    element = re.sub(rf'<a xlink:href="{METHOD}(\d+)"[^>]*>', r'<g data-method="\1">', element).replace("</a>", "</g>")
    # Every figure numbers its groups alike, and nothing refers to them.
    element = re.sub(r'<g id="[A-Za-z0-9_.]+_\d+"', "<g", element)
    return element.replace(INK, "currentColor").replace("'DejaVu Sans'", FONTS)
