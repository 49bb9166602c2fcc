"""What papers report on the dataset of a board, as a section of the page and a folded one of the Markdown."""

import math
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from bench.analysis.board_lines import FIRST, Line
from bench.analysis.boards import Board
from bench.analysis.literature import Beside, Literature, literature
from bench.report.tables import Cell, Table, kind_name, percent
from bench.scoring.names import NONE, metric_name

__all__ = ["LITERATURE", "LITERATURE_READ", "about", "caution", "literature_sections", "literature_table", "rows"]

LITERATURE = "Literature"
LITERATURE_READ = (
    "The first rows are measured here. Below them is what papers report, nearest to the protocol of the first "
    "row first. The source is where a value was read, which may be another paper's table."
)
SHOWN = (FIRST, "map_at_r", "nmi")
MOST_MEASURED = 3
"""Measured lines at most; the table of the board has all."""
KINDS = {"individual": "loss", "loss_ensemble": "ensemble", "model_ensemble": "model ensemble"}


class Shown(NamedTuple):
    """Columns that depend on what is published."""

    metrics: tuple[str, ...]
    difference: bool
    """Whether there is a difference to be shown."""


def about(board: Board) -> tuple[str, ...]:
    """What the plot of a board's literature is about: not (dataset, backbone), for it stands in this section."""
    return (LITERATURE, board.dataset, board.backbone)


def rows(found: Literature) -> str:
    """What its table holds."""
    own, published = min(len(found.measured), MOST_MEASURED), len(found.beside)
    return f"{own} measured, {published} published"


def caution(found: Literature) -> str:
    """One sentence on what may be compared."""
    count = len(found.beside)
    comparable = sum(one.comparable for one in found.beside)
    if comparable:
        return f"{comparable} of {count} results are comparable with the first row; of no other a difference is given."
    why = f": the list behind this table states {_listed(found.silent)} of none of them" if found.silent else ""
    return f"None of these {count} results is known to be comparable, so no difference is given{why}."


def literature_table(found: Literature) -> Table:
    """The measured lines, then every published result with its protocol and its source."""
    shown = Shown(
        tuple(name for name in SHOWN if any(name in one.result.scores for one in found.beside)),
        any(one.difference is not None for one in found.beside),
    )
    numbers = (*map(metric_name, shown.metrics), *(("Here − there",) if shown.difference else ()), "Width", "Year")
    words = ("Trunk", "Kind", "Comparable", "Paper", "Source")
    own = [_measured(line, found.trunk, shown) for line in found.measured[:MOST_MEASURED]]
    published = [_published(one, found.silent, shown) for one in found.beside]
    return Table(("Method", *numbers, *words), (*own, *published), words=len(words))


def _measured(line: Line, trunk: str, shown: Shown) -> tuple[Cell, ...]:
    scores = [line.scores.get(name) for name in shown.metrics]
    return (
        Cell(line.label, line.label.lower(), marked=True),
        *(_score(score and (score.mean, score.half_width)) for score in scores),
        *([Cell(NONE, -2)] if shown.difference else []),
        _whole(line.dim),
        _whole(None),
        *map(_word, (trunk, kind_name(line.kind), NONE, "measured here", NONE)),
    )


def _published(one: Beside, silent: Sequence[str], shown: Shown) -> tuple[Cell, ...]:
    result = one.result
    scores = [(result.scores.get(name), result.half_widths.get(name, math.nan)) for name in shown.metrics]
    return (
        _word(result.method),
        *(_score(None if mean is None else (mean, width)) for mean, width in scores),
        *([_difference(one.difference)] if shown.difference else []),
        _whole(result.dim),
        _whole(result.year),
        *map(_word, (result.trunk or NONE, KINDS[result.kind], _badge(one, silent), result.paper)),
        Cell(_site(result.source), result.source, link=result.source),
    )


def _badge(one: Beside, silent: Sequence[str]) -> str:
    """Whether it is comparable; fields that no result states are left to `caution`."""
    if one.comparable:
        return "yes"
    unknown = [name for name in one.unknown if name not in silent]
    said = [f"other {_listed(one.differ)}"] if one.differ else []
    said += [f"{_listed(unknown)} unknown"] if unknown else []
    return f"{'no' if one.differ else 'unclear'}: {', '.join(said) or 'agrees as far as it is stated'}"


def _word(text: str) -> Cell:
    return Cell(text, text.lower())


def _whole(number: int | None) -> Cell:
    return Cell(NONE, -1) if number is None else Cell(str(number), number)


def _score(score: tuple[float, float] | None) -> Cell:
    return Cell(NONE, -1) if score is None else Cell(percent(*score), score[0])


def _difference(value: float | None) -> Cell:
    return Cell(NONE, -2) if value is None else Cell(percent(value, math.nan, sign="+"), value)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _site(source: str) -> str:
    """Of an address on GitHub the repository's name, of any other the host."""
    parts = urlsplit(source)
    folders = parts.path.split("/")
    return folders[2] if parts.hostname == "github.com" and len(folders) > 2 else str(parts.hostname)


def literature_sections(boards: Sequence[Board]) -> list[dict[str, object]]:
    """What the page shows of every board that has published results beside it."""
    return [
        {
            "name": f"{board.dataset}, {board.backbone}",
            "caution": caution(found),
            "rows": rows(found),
            "table": literature_table(found),
            "about": about(board),
        }
        for board in boards
        if (found := literature(board))
    ]
