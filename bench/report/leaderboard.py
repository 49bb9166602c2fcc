"""The leaderboard in Markdown, and in short for a terminal."""

import re
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from bench.report.boards import Board, boards
from bench.report.guide import GUIDE
from bench.report.table import Cell, Table, glance, ladder, scoreboard, unfinished

__all__ = ["boards", "markdown", "terminal"]

Links = Mapping[tuple[str, ...], Sequence[tuple[str, str]]]
ON_A_TERMINAL = ("Objective", "Recall@1", "MAP@R", "NMI", "Seeds", "Time")


def markdown(
    boards: Sequence[Board], *, title: str, facts: Sequence[tuple[str, str]] = (), plots: Links | None = None
) -> str:
    """The whole leaderboard as GitHub Markdown.

    `facts` are name and value of the provenance; `plots` maps what a plot is about, (dataset, backbone) or (), to
    pairs of caption and file name.
    """
    links = plots or {}
    heard = {(board.dataset, board.backbone) for board in boards}
    overall = [link for about, found in links.items() if about not in heard for link in found]
    parts = [
        f"# {_plain(title)}",
        "Made by `bench report` from stored rows; [index.html](index.html) is the same with tables that sort.",
        "\n".join(f"- **{name}:** {_plain(value)}" for name, value in facts),
        "## At a glance",
        _table(glance(boards)),
        *_pictures(overall),
        *(part for board in boards for part in _board(board, links.get((board.dataset, board.backbone), ()))),
        "## How to read this",
        "\n".join(f"- **{_plain(term)}:** {_plain(text)}" for term, text in GUIDE),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _board(board: Board, plots: Iterable[tuple[str, str]]) -> list[str]:
    gained, holes = ladder(board), unfinished(board)
    return [
        f"## {_plain(board.dataset)}, {_plain(board.backbone)}",
        board.queries and f"{board.queries}.",
        board.recipe and f"Recipe: {_plain(board.recipe)}.",
        *board.notes,
        _table(scoreboard(board)) if board.lines else "Nothing was measured here.",
        *(["### Gain of ensembles over their best member, in Recall@1", _table(gained)] if gained.rows else []),
        *(["### Without scores", "These cells are in no mean.", _table(holes)] if holes.rows else []),
        *_pictures(plots),
    ]


def _table(table: Table) -> str:
    rule = ["---"] * table.texts + ["--:"] * (len(table.heads) - table.texts)
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in ([_plain(head) for head in table.heads], rule, *rows))


def _cell(cell: Cell) -> str:
    return f"**{_plain(cell.text)}**" if cell.best else _plain(cell.text)


def _pictures(plots: Iterable[tuple[str, str]]) -> list[str]:
    return [f"![{_plain(caption)}]({file})\n\n*{_plain(caption)}*" for caption, file in plots]


def _plain(text: str) -> str:
    """`text` so that Markdown shows it letter by letter, on one line."""
    return re.sub(r"([\\`*_\[\]<>|~])", r"\\\1", " ".join(text.split())).replace("&", "&amp;")


def terminal(boards: Sequence[Board]) -> Group:
    """One narrow table a board, for `rich.console.Console.print`, with gains and what has no scores below it."""
    return Group(*(part for board in boards for part in _narrow(board)))


def _narrow(board: Board) -> list[RenderableType]:
    table = scoreboard(board)
    kept = [index for index, head in enumerate(table.heads) if head in ON_A_TERMINAL]
    grid = Grid(title=Text(f"{board.dataset}, {board.backbone}"), title_justify="left", box=None, header_style="dim")
    for index in kept:
        grid.add_column(table.heads[index], justify="right" if index else "left", no_wrap=index > 0, overflow="fold")
    for row in table.rows:
        grid.add_row(*(Text(row[index].text, style="bold" if row[index].best else "") for index in kept))
    gained = [f"{row[0].text}: {row[2].text} points over {row[1].text}" for row in ladder(board).rows if row[4].order]
    holes = [
        f"{cell.label}, seed {', '.join(map(str, cell.seeds))}, {cell.status}: {cell.reason}"
        for cell in board.unfinished
    ]
    scores = grid if board.lines else Text(f"{board.dataset}, {board.backbone}: nothing was measured.")
    return [scores, *map(Text, (*gained, *holes, *board.notes)), Text()]
