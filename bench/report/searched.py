"""What a search found, for a terminal."""

import math
from collections.abc import Sequence

from rich.console import Group
from rich.table import Table as Grid
from rich.text import Text

from bench.analysis.search_choice import Choice
from bench.report.tables import percent
from bench.scoring.names import NONE

__all__ = ["terminal"]

HEADS = ("Objective", "Trials", "Held-out MAP@R", "Before", "Chosen")


def terminal(choices: Sequence[Choice]) -> Group:
    """One table for a dataset and backbone: the best score, that of the matrix's own setting, and what was chosen."""
    job = choices[0].job
    title = Text(f"{job.dataset.label}, {job.backbone.label}")
    grid = Grid(title=title, title_justify="left", box=None, header_style="dim")
    for index, head in enumerate(HEADS):
        grid.add_column(head, justify="left" if index in (0, 4) else "right", no_wrap=0 < index < 4, overflow="fold")
    for choice in choices:
        grid.add_row(*map(Text, _row(choice)))
    return Group(grid, Text())


def _row(choice: Choice) -> tuple[str, ...]:
    best = NONE if choice.best is None else percent(choice.scores[choice.best], math.nan)
    before = NONE if not choice.scores or math.isnan(choice.scores[0]) else percent(choice.scores[0], math.nan)
    return choice.label, _spent(choice), best, before, _chosen(choice)


def _spent(choice: Choice) -> str:
    """How many trials there were, and how many of them without a score."""
    lost = sum(map(math.isnan, choice.scores))
    return f"{len(choice.trials)}{f' ({lost} without a score)' if lost else ''}"


def _chosen(choice: Choice) -> str:
    if choice.best is None:
        why = f"skipped: {choice.reason}" if choice.skipped else f"none: {choice.reason}"
        return why if choice.trials else "nothing to search"
    settings = ", ".join(f"{space.name}={value:g}" for space, value in choice.values)
    return settings if choice.best else f"as before: {settings}"
