"""The front page of a folder of reports: what each of them answers, and where it is."""

import json
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

from bench.matrix.job import ConfigError
from bench.report.files import GENERATOR, write_files
from bench.report.markdown import markdown_table, plain
from bench.report.page.templates import template
from bench.report.tables import Cell, Table

__all__ = ["FRONT_READ", "write_front"]

FRONT_READ = (
    "Each report is one page that needs nothing else: who leads, how sure that is, what it costs, and all behind it."
)
TITLE = "Reports"
OVERWRITTEN = "latest"
"""The folder that a report goes to unless it is told; the next one replaces it, so nothing leads there."""
BEGINNING = 1 << 16
"""Letters of a page in which its title and its summary are."""


class Entry(NamedTuple):
    """One report, or another page."""

    title: str
    address: str
    """Relative to the front page."""
    boards: Table | None = None


def write_front(folder: Path) -> list[Path]:
    """Write index.html and README.md that lead to the report in every folder below, and to the Markdown pages beside.

    Raises:
        ConfigError: one of both is there and not from a report; or the folder cannot be written.
    """
    try:
        places = sorted(path for path in folder.glob("*/index.html") if path.parent.name != OVERWRITTEN)
        found = [_entry(path, folder) for path in places]
        pages = [_page(path) for path in sorted(folder.glob("*.md")) if path.name != "README.md"]
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read ({error.strerror}); name another folder with --front") from error
    reports = [entry for entry in found if entry]
    shown = {"title": TITLE, "generator": GENERATOR, "read": FRONT_READ, "reports": reports, "pages": pages}
    texts = {"index.html": template("front.html.jinja").render(**shown), "README.md": _markdown(reports, pages)}
    return write_files(folder, texts)


def _entry(path: Path, folder: Path) -> Entry | None:
    """A report by what its page says of itself; None for a page of others."""
    with path.open(encoding="utf-8", errors="replace") as file:
        head = _Head(file.read(BEGINNING))
    if head.meta.get("generator") != GENERATOR:
        return None
    where = path.relative_to(folder).as_posix()
    return Entry(head.title or where, where, _boards(head.meta.get("boards", ""), where))


def _boards(said: str, where: str) -> Table | None:
    """The table at a glance, its first column leading to the boards."""
    try:
        heads, rows = json.loads(said)
        cells = [[Cell(str(text), str(text)) for text in row] for row in rows]
    except (ValueError, TypeError):
        return None
    linked = (
        (row[0]._replace(link=f"{where}#board-{number}"), *row[1:]) for number, row in enumerate(cells, start=1) if row
    )
    return Table(tuple(map(str, heads)), tuple(linked), texts=len(heads))


def _page(path: Path) -> Entry:
    first = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    return Entry(first.removeprefix("# ").strip() or path.name, path.name)


def _markdown(reports: Sequence[Entry], pages: Sequence[Entry]) -> str:
    parts = [f"# {TITLE}", "Made by `bench report --front`. " + FRONT_READ]
    for entry in reports:
        beside = entry.address.replace("index.html", "README.md")
        parts.append(f"## [{plain(entry.title)}]({beside})")
        parts += [markdown_table(_unlinked(entry.boards))] if entry.boards else []
    parts += ["## More"] if pages else []
    parts += ["\n".join(f"- [{plain(entry.title)}]({entry.address})" for entry in pages)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _unlinked(table: Table) -> Table:
    """Markdown has no marks to lead to in a page."""
    return table._replace(rows=tuple((row[0]._replace(link=""), *row[1:]) for row in table.rows))


class _Head(HTMLParser):
    """The title of a page and what its <meta> elements say."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.title, self.meta, self._inside = "", dict[str, str](), False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "title"
        own = dict(attrs)
        if tag == "meta" and own.get("name"):
            self.meta.setdefault(str(own["name"]), own.get("content") or "")

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002
        self._inside = False

    def handle_data(self, data: str) -> None:
        self.title += data if self._inside else ""
