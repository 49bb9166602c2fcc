"""The leaderboard in Markdown."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from itertools import islice, zip_longest

from bench.analysis.across_boards import Together, together
from bench.analysis.board_answer import answer
from bench.analysis.boards import Board, boards
from bench.analysis.literature import literature
from bench.report.changes import CHANGES_READ, Since, change_sentences, change_table
from bench.report.epoch_table import epoch_table
from bench.report.explanations import ACROSS_READ, GAINS, GAINS_READ, GUIDE, SELECTION, SELECTION_READ
from bench.report.literature import LITERATURE, LITERATURE_READ, about, caution, literature_table, rows
from bench.report.short_table import MOST_SHORT, short_table
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
ESCAPED = str.maketrans({sign: f"\\{sign}" for sign in r"\`*_[]<>|~"} | {"&": "&amp;"})
SHOWN = 3
"""Plots that are not folded."""


def markdown(
    boards: Sequence[Board],
    *,
    title: str,
    facts: Sequence[tuple[str, str]] = (),
    plots: Links | None = None,
    since: Since | None = None,
) -> str:
    """The leaderboard as GitHub Markdown, short enough for a pull request: what is long is folded.

    `facts` are name and value of the provenance; `plots` maps what a plot is about, (dataset, backbone) or (), to
    pairs of caption and file name. The first SHOWN of them are seen at once: the first of each board, then the second.
    `since` is what changed since other rows.
    """
    links = plots or {}
    heard = {_place(board) for board in boards} | set(map(about, boards))
    overall = [link for place, found in links.items() if place not in heard for link in found]
    published = [part for board in boards for part in _literature(board, links.get(about(board), ()))]
    seen = _seen([links.get(_place(board), ()) for board in boards])
    parts = [
        f"# {plain(title)}",
        "Made by `bench report` from stored results. [index.html](index.html) is the same with more figures, to be "
        "sorted, filtered and held against any baseline.",
        "## The answer" if any(map(answer, boards)) else "",
        *(part for board in boards for part in _answer(board)),
        *(_since(since) if since else []),
        "## At a glance",
        markdown_table(glance(boards)),
        *(part for found in together(boards) for part in _across(found)),
        *_folded("Over all datasets", markdown_pictures(overall)),
        *(part for board in boards for part in _board(board, links.get(_place(board), ()), seen)),
        *([f"## {LITERATURE}", LITERATURE_READ, *published] if published else []),
        *_folded("How to read this", ["\n".join(f"- **{plain(term)}:** {plain(text)}" for term, text in GUIDE)]),
        *_folded("How it was measured", ["\n".join(f"- **{name}:** {plain(value)}" for name, value in facts)]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _place(board: Board) -> tuple[str, str]:
    return (board.dataset, board.backbone)


def _seen(plots: Sequence[Sequence[tuple[str, str]]]) -> frozenset[str]:
    """The files of those that are not folded."""
    turns = (link for turn in zip_longest(*plots) for link in turn if link)
    return frozenset(file for _, file in islice(turns, SHOWN))


def _folded(summary: str, parts: Sequence[str]) -> list[str]:
    """Parts that a click shows; none where there is nothing in them."""
    inside = list(filter(None, parts))
    name = escape(" ".join(summary.split()))
    return [f"<details>\n<summary>{name}</summary>", *inside, "</details>"] if inside else []


def _answer(board: Board) -> list[str]:
    said = answer(board)
    head = f"**{plain(board.dataset)}, {plain(board.backbone)}**"
    return [head, "\n".join(f"- {plain(sentence)}" for sentence in said)] if said else []


def _since(since: Since) -> list[str]:
    parts = [f"## What changed since {plain(since.source)}", CHANGES_READ]
    for board in since.boards:
        table = change_table(board)
        first, all_ = table._replace(rows=table.rows[:MOST_SHORT]), markdown_table(table)
        parts += [
            f"**{plain(board.dataset)}, {plain(board.backbone)}**",
            "\n".join(f"- {plain(sentence)}" for sentence in change_sentences(board)),
            markdown_table(first) if table.rows else "",
            *_folded(f"All {len(table.rows)} methods", [all_] if len(table.rows) > MOST_SHORT else []),
        ]
    return parts


def _across(found: Together) -> list[str]:
    return _folded(across_title(found), [ACROSS_READ, markdown_table(across_table(found))])


def _board(board: Board, plots: Iterable[tuple[str, str]], seen: Collection[str]) -> list[str]:
    whole = scoreboard(board)
    shown = markdown_pictures(link for link in plots if link[1] in seen)
    return [
        f"## {plain(board.dataset)}, {plain(board.backbone)}",
        board.queries and f"{board.queries}.",
        board.recipe and f"Recipe: {plain(board.recipe)}.",
        *([f"Contamination: {plain(marked)}."] if (marked := contamination_text(board)) else []),
        *map(plain, board.notes),
        board.verdict.sentence and f"**{plain(board.verdict.sentence)}**",
        markdown_table(short_table(board, whole)) if board.lines else "No cell of this board has scores.",
        *shown,
        *_more(board, whole, [link for link in plots if link[1] not in seen]),
    ]


def _more(board: Board, whole: Table, plots: Sequence[tuple[str, str]]) -> list[str]:
    """What else is known of a board, each under a fold that says what it has."""
    selected, gained, holes, count = epoch_table(board), ladder(board), unfinished(board), len(board.lines)
    return [
        *_folded(f"All {count:,} lines with all their scores", [markdown_table(whole)] if count else []),
        *_folded(SELECTION, [SELECTION_READ, markdown_table(selected)] if selected.rows else []),
        *_folded(GAINS, [GAINS_READ, markdown_table(gained)] if gained.rows else []),
        *_folded(
            "Without scores",
            ["These cells are left out of every mean.", markdown_table(holes)] if holes.rows else [],
        ),
        *_folded(f"{len(plots)} more figures" if len(plots) > 1 else "One more figure", markdown_pictures(plots)),
    ]


def _literature(board: Board, plots: Iterable[tuple[str, str]]) -> list[str]:
    """What papers report on the dataset of a board, the table folded."""
    found = literature(board)
    if found is None:
        return []
    return [
        f"### {plain(board.dataset)}, {plain(board.backbone)}: what is published",
        caution(found),
        *_folded(
            f"{board.dataset}, {board.backbone}: {rows(found)}",
            [*markdown_pictures(plots), markdown_table(literature_table(found))],
        ),
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
    return " ".join(text.split()).translate(ESCAPED)
