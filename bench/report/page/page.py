"""The leaderboard as one HTML page that needs nothing else: no web, no other file."""

import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest

from markupsafe import Markup

from bench.analysis.across_boards import together
from bench.analysis.board_answer import answer
from bench.analysis.boards import Board
from bench.analysis.changes import BoardChanges
from bench.report.changes import CHANGES_READ, Since, change_sentences, change_table
from bench.report.epoch_table import epoch_table
from bench.report.explanations import ACROSS_READ, GAINS, GAINS_READ, GUIDE, SELECTION, SELECTION_READ
from bench.report.files import GENERATOR
from bench.report.literature import LITERATURE, LITERATURE_READ, about, literature_sections
from bench.report.method_numbers import method_numbers
from bench.report.page.templates import template
from bench.report.page_pairs import baselines
from bench.report.plots.draw import Picture
from bench.report.row_details import RowDetails, row_details
from bench.report.tables import (
    Cell,
    Table,
    across_table,
    across_title,
    contamination_text,
    glance,
    ladder,
    scoreboard,
    shortened,
    unfinished,
)

__all__ = ["page"]

MOST_ROWS = 200
"""Rows of a table on the page at most; the Markdown beside it has all."""
MOST_DETAILED = 100
"""Rows of a leaderboard at most that open to their seeds, cost and origin; they are most of a large page."""


def page(
    boards: Sequence[Board],
    *,
    title: str,
    facts: Sequence[tuple[str, str]] = (),
    pictures: Sequence[Picture] = (),
    galleries: Mapping[tuple[str, str], Markup] | None = None,
    since: Since | None = None,
) -> str:
    """HTML of the whole report: every text is escaped, the <svg> elements of `pictures` are put in as they are.

    `facts` are name and value of the provenance, `galleries` what `report.gallery` makes, by dataset and backbone, and
    `since` what changed since other rows.
    """
    shown = galleries or {}
    heard = {(board.dataset, board.backbone) for board in boards} | set(map(about, boards))
    at_a_glance, numbers = glance(boards), method_numbers(boards)
    return template("page.html.jinja").render(
        title=title,
        summary=json.dumps([at_a_glance.heads, [[cell.text for cell in row] for row in at_a_glance.rows]]),
        generator=GENERATOR,
        facts=facts,
        guide=GUIDE,
        selection_title=SELECTION,
        selection_read=SELECTION_READ,
        gains_title=GAINS,
        gains_read=GAINS_READ,
        boards=[
            _section(board, pictures, numbers) | {"gallery": shown.get((board.dataset, board.backbone))}
            for board in boards
        ],
        galleries=bool(shown),
        glance=at_a_glance,
        across=[(across_title(found), shortened(across_table(found), MOST_ROWS)) for found in together(boards)],
        across_read=ACROSS_READ,
        since=since and since.source,
        changes_read=CHANGES_READ,
        changes=[_changes(board) for board in since.boards] if since else [],
        literature_title=LITERATURE,
        literature_read=LITERATURE_READ,
        literature=[
            {**found, "pictures": [_inline(picture) for picture in pictures if picture.about == found["about"]]}
            for found in literature_sections(boards)
        ],
        overall=[_inline(picture) for picture in pictures if picture.about not in heard],
    )


def _section(board: Board, pictures: Sequence[Picture], numbers: Mapping[str, int]) -> dict[str, object]:
    about = (board.dataset, board.backbone)
    scores = shortened(scoreboard(board), MOST_ROWS)
    return {
        "name": f"{board.dataset}, {board.backbone}",
        "board": board,
        "answer": answer(board),
        "contamination": contamination_text(board),
        "scores": scores,
        "rows": _rows(board, scores, numbers),
        "baselines": baselines(board.verdict.pairs) if board.verdict.pairs else None,
        "selection": shortened(epoch_table(board), MOST_ROWS),
        "gains": shortened(ladder(board), MOST_ROWS),
        "unfinished": shortened(unfinished(board), MOST_ROWS),
        "pictures": [_inline(picture) for picture in pictures if picture.about == about],
    }


def _changes(board: BoardChanges) -> dict[str, object]:
    table = shortened(change_table(board), MOST_ROWS)
    return {"name": f"{board.dataset}, {board.backbone}", "sentences": change_sentences(board), "table": table}


def _rows(
    board: Board, table: Table, numbers: Mapping[str, int]
) -> list[tuple[tuple[Cell, ...], RowDetails | None, int | None, int | None]]:
    """Each row with its details, its place among the pairs of the board, and the number of its method; the chance level
    has none of these."""
    places = {cell: place for place, cell in enumerate(board.verdict.places)}
    known = [
        (row_details(line, board.metrics), places.get(line.cell), numbers[line.method])
        for line in board.lines[:MOST_DETAILED]
    ]
    return [(cells, *ends) for cells, ends in zip_longest(table.rows, known, fillvalue=(None, None, None))]


def _inline(picture: Picture) -> tuple[str, Markup, Table | None, str]:
    return picture.caption, Markup(picture.svg), picture.table, picture.why
