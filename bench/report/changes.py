"""What changed since other rows were stored, in sentences and tables: for the page and for Markdown."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from bench.analysis.changes import BoardChanges, Change
from bench.report.tables import Cell, Table, percent

__all__ = ["CHANGES_READ", "Since", "change_sentences", "change_table"]

CHANGES_READ = (
    "Held against each other is the same cell of both: same method, parameters and recipe, on the same data and trunk. "
    "Differences are points of Recall@1, now less before, with the 95 % interval over new seeds; sure is what holds by "
    "Holm's correction over the cells of a board that ran again. Places are by the means of the methods that both have."
)
MOST_NAMES = 8
TOLD = ("better", "worse", "cannot be told apart", "no verdict", "more seeds", "fewer seeds", "same runs")


class Since(NamedTuple):
    """What a report is held against."""

    source: str
    """Where the older rows are."""
    boards: Sequence[BoardChanges]


def change_sentences(found: BoardChanges) -> list[str]:
    """What came, what went, and how many of the others are better or worse."""
    if found.why:
        return [f"Nothing is compared: {found.why}."]
    counts = Counter(one.verdict for one in found.changes)
    tally = ", ".join(f"{counts[verdict]} {verdict}" for verdict in TOLD if counts[verdict])
    over = f" (Holm over {found.family} pairs)" if found.family > 1 else ""
    parts = [
        f"New: {_names(found.new)}." if found.new else "",
        f"Gone: {_names(found.gone)}." if found.gone else "",
        f"Of {len(found.changes)} methods in both: {tally}{over}." if found.changes else "No method is in both.",
    ]
    return list(filter(None, parts))


def change_table(found: BoardChanges) -> Table:
    """The methods in both that ran again, or have another place."""
    heads = ("Objective", "Before", "Now", "Difference", "Place", "Verdict")
    shown = [one for one in found.changes if one.verdict != "same runs" or one.places[0] != one.places[1]]
    return Table(heads, tuple(map(_row, shown)), words=1)


def _row(one: Change) -> tuple[Cell, ...]:
    gap, (before, after) = one.after - one.before, one.places
    place = str(after) if before == after else f"{before} → {after}"
    return (
        Cell(one.label, one.label.lower()),
        *(Cell(percent(score, float("nan")), score) for score in (one.before, one.after)),
        Cell(percent(gap, one.half_width, sign="+"), gap, marked=one.verdict in ("better", "worse")),
        Cell(place, before - after),
        Cell(one.verdict, one.verdict),
    )


def _names(labels: Sequence[str]) -> str:
    more = len(labels) - MOST_NAMES
    return ", ".join(labels[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
