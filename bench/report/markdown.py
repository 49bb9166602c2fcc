"""The leaderboard in Markdown."""

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from bench.analysis.across_boards import Together, together
from bench.analysis.answer import answer
from bench.analysis.boards import Board, boards
from bench.analysis.literature import literature
from bench.report.epoch_table import epoch_table
from bench.report.explanations import ACROSS_READ, GAINS, GAINS_READ, GUIDE, SELECTION, SELECTION_READ
from bench.report.literature import LITERATURE, LITERATURE_READ, about, caution, literature_table, rows
from bench.report.tables import (
    Cell,
    Table,
    across_table,
    across_title,
    contamination_text,
    glance,
    ladder,
    scoreboard,
    unfinished,
)

__all__ = ["boards", "markdown", "markdown_pictures", "markdown_table", "plain"]

Links = Mapping[tuple[str, ...], Sequence[tuple[str, str]]]


def markdown(
    boards: Sequence[Board], *, title: str, facts: Sequence[tuple[str, str]] = (), plots: Links | None = None
) -> str:
    """The whole leaderboard as GitHub Markdown.

    `facts` are name and value of the provenance; `plots` maps what a plot is about, (dataset, backbone) or (), to
    pairs of caption and file name.
    """
    links = plots or {}
    heard = {(board.dataset, board.backbone) for board in boards} | set(map(about, boards))
    overall = [link for place, found in links.items() if place not in heard for link in found]
    published = [part for board in boards for part in _literature(board, links.get(about(board), ()))]
    parts = [
        f"# {plain(title)}",
        "Made by `bench report` from stored results. [index.html](index.html) has the same tables, sortable.",
        "## The answer" if any(map(answer, boards)) else "",
        *(part for board in boards for part in _answer(board)),
        "## At a glance",
        markdown_table(glance(boards)),
        *(part for found in together(boards) for part in _across(found)),
        *markdown_pictures(overall),
        *(part for board in boards for part in _board(board, links.get((board.dataset, board.backbone), ()))),
        *([f"## {LITERATURE}", LITERATURE_READ, *published] if published else []),
        "## How to read this",
        "\n".join(f"- **{plain(term)}:** {plain(text)}" for term, text in GUIDE),
        "## How it was measured" if facts else "",
        "\n".join(f"- **{name}:** {plain(value)}" for name, value in facts),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _answer(board: Board) -> list[str]:
    said = answer(board)
    head = f"**{plain(board.dataset)}, {plain(board.backbone)}**"
    return [head, "\n".join(f"- {plain(sentence)}" for sentence in said)] if said else []


def _across(found: Together) -> list[str]:
    return [f"### {plain(across_title(found))}", ACROSS_READ, markdown_table(across_table(found))]


def _board(board: Board, plots: Iterable[tuple[str, str]]) -> list[str]:
    selected, gained, holes = epoch_table(board), ladder(board), unfinished(board)
    return [
        f"## {plain(board.dataset)}, {plain(board.backbone)}",
        board.queries and f"{board.queries}.",
        board.recipe and f"Recipe: {plain(board.recipe)}.",
        *([f"Contamination: {plain(marked)}."] if (marked := contamination_text(board)) else []),
        *map(plain, board.notes),
        board.verdict.sentence and f"**{plain(board.verdict.sentence)}**",
        markdown_table(scoreboard(board)) if board.lines else "No cell of this board has scores.",
        *([f"### {SELECTION}", SELECTION_READ, markdown_table(selected)] if selected.rows else []),
        *([f"### {GAINS}", GAINS_READ, markdown_table(gained)] if gained.rows else []),
        *(
            ["### Without scores", "These cells are left out of every mean.", markdown_table(holes)]
            if holes.rows
            else []
        ),
        *markdown_pictures(plots),
    ]


def _literature(board: Board, plots: Iterable[tuple[str, str]]) -> list[str]:
    """What papers report on the dataset of a board, the table folded."""
    found = literature(board)
    if found is None:
        return []
    name = escape(" ".join(f"{board.dataset}, {board.backbone}".split()))
    fold = f"<details>\n<summary>{name}: {rows(found)}</summary>"
    head = f"### {plain(board.dataset)}, {plain(board.backbone)}: what is published"
    return [
        head,
        caution(found),
        *markdown_pictures(plots),
        fold,
        markdown_table(literature_table(found)),
        "</details>",
    ]


def markdown_table(table: Table) -> str:
    """A table as GitHub Markdown."""
    rule = [*["---"] * table.texts, *["--:"] * (len(table.heads) - table.texts - table.words), *["---"] * table.words]
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in ([plain(head) for head in table.heads], rule, *rows))


def _cell(cell: Cell) -> str:
    text = f"[{plain(cell.text)}]({cell.link})" if cell.link else plain(cell.text)
    return f"**{text}**" if cell.marked else text


def markdown_pictures(plots: Iterable[tuple[str, str]]) -> list[str]:
    """Pictures by caption and file name, each with its caption below."""
    return [f"![{plain(caption)}]({file})\n\n*{plain(caption)}*" for caption, file in plots]


def plain(text: str) -> str:
    """`text` so that Markdown shows it letter by letter, on one line."""
    return re.sub(r"([\\`*_\[\]<>|~])", r"\\\1", " ".join(text.split())).replace("&", "&amp;")
