"""What the plots share: sizes, colours, and axes with one row of text per line."""

import textwrap
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["COLOURS", "HUES", "MOST", "ROW", "WIDTH", "canvas", "figure_of", "key", "spread", "within", "wrapped"]

# Okabe and Ito, "Color Universal Design", 2008: told apart with any colour vision.
COLOURS = {
    "loss": "#0072b2",
    "ensemble": "#e69f00",
    "model_ensemble": "#009e73",
    "student": "#cc79a7",
    "control": "#949494",
    "floor": "#6e6e6e",
}
HUES = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#56b4e9", "#949494")
MOST = 40
WIDTH = 6.8
ROW = 0.21
TITLE = 74
"""Letters of a title that fit the width."""


def wrapped(label: str) -> str:
    """At most two lines of a label."""
    return "\n".join(textwrap.wrap(label, 34, max_lines=2, placeholder=" …") or [""])


def within(label: str, letters: int) -> str:
    """The label on one line of so many letters, its end cut off where it is longer."""
    return label if len(label) <= letters else f"{label[: letters - 1].rstrip()}…"


def canvas(
    labels: Sequence[str], title: str, *, urls: Iterable[str] = (), top: float = 0.62, bottom: float = 0.48
) -> Axes:
    """Axes with one row per label, as tall as they need; sizes in inches, so no layout has to be solved.

    `urls` are the addresses of the labels, where they have some.
    """
    lines = 1 if all("\n" not in label for label in labels) else 1.5
    height = max(ROW * lines * len(labels), 0.6)
    left = 0.25 + 0.078 * max(len(part) for label in labels for part in label.split("\n"))
    figure = Figure(figsize=(WIDTH, top + height + bottom))
    whole = height + top + bottom
    axes = figure.add_axes((left / WIDTH, bottom / whole, 1 - (left + 0.2) / WIDTH, height / whole))
    axes.set_ylim(len(labels), 0)
    # Plain text instead of tick labels: a tick costs matplotlib four times as much.
    axes.yaxis.set_visible(False)
    for y, (label, url) in enumerate(zip_longest(labels, urls)):
        axes.text(
            -0.08 / (WIDTH - left),
            y + 0.5,
            label,
            ha="right",
            va="center",
            transform=axes.get_yaxis_transform(),
            linespacing=1,
            url=url,
        )
    figure.text(0.1 / WIDTH, 1 - 0.08 / whole, within(title, TITLE), va="top", weight="bold", size=10)
    return axes


def key(figure: Figure, entries: Iterable[tuple[str, str, str]]) -> None:
    """What marks mean, one row under the title: mark, colour, name.

    Text alone, since matplotlib's legend takes a third of the time of the whole plot.
    """
    x, y = 0.12, 1 - 0.33 / figure.get_figheight()
    for mark, colour, name in entries:
        figure.text(x / WIDTH, y, mark, color=colour, va="top", size=10, alpha=0.75 if mark == "■" else 1)
        figure.text((x + 0.16) / WIDTH, y, name, va="top", size=8.5)
        x += 0.38 + 0.064 * len(name)


def figure_of(axes: Axes) -> Figure:
    """The figure that axes are on."""
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    return figure


def spread(values: Iterable[float], gap: float, low: float) -> list[float]:
    """Descending `values`, moved to lie at least `gap` apart and not below `low`."""
    placed: list[float] = []
    for value in values:
        placed.append(min(value, placed[-1] - gap) if placed else value)
    for index in range(len(placed) - 1, -1, -1):
        floor = low if index == len(placed) - 1 else placed[index + 1] + gap
        placed[index] = max(placed[index], floor)
    return placed
