"""The report: a Markdown leaderboard, one HTML page and the plots, all from stored rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from bench.matrix.job import Job
from bench.report.changes import Since
from bench.report.markdown import boards, markdown
from bench.report.terminal import terminal

if TYPE_CHECKING:
    from markupsafe import Markup

    from bench.analysis.boards import Board
    from bench.report.plots.svg import Logs

__all__ = ["Asked", "boards", "markdown", "terminal", "write", "write_boards"]


class Asked(NamedTuple):
    """What a report has only where it is asked for."""

    galleries: "Mapping[tuple[str, str], Markup]" = MappingProxyType({})
    """As `report.gallery` makes them, for the page alone."""
    since: Since | None = None
    """What changed since other rows."""


NOTHING_MORE = Asked()


def write(
    rows: pd.DataFrame,
    history: pd.DataFrame,
    output: Path,
    *,
    members: pd.DataFrame | None = None,
    title: str = "Leaderboard",
    jobs: Sequence[Job] = (),
) -> list[Path]:
    """Write README.md, index.html and the plots of `rows` (as `bench.load` gives them) into `output`.

    `history` and `members` are as `bench.store` gives them; labels and kinds are those of `jobs`, else the stored ones.
    Returns the files, plots first. The same rows give the same bytes. Raises ValueError where there are no rows, and
    ConfigError where `output` cannot be written or holds a file of the same name that is not from a report.
    """
    from bench.analysis.provenance_facts import facts
    from bench.report.plots.svg import Logs

    if rows.empty:
        raise ValueError("there are no rows to report; run a matrix first, for example `bench run demo`.")
    logs = Logs(history, pd.DataFrame() if members is None else members)
    return write_boards(boards(rows, jobs), facts(rows), logs, output, title=title)


def write_boards(
    found: "Sequence[Board]",
    facts: Sequence[tuple[str, str]],
    logs: "Logs",
    output: Path,
    *,
    title: str,
    asked: Asked = NOTHING_MORE,
) -> list[Path]:
    """The same for boards that are there already; `logs` need hold no more than `plots.draw.drawn` says."""
    # Drawing takes a second to import, which a leaderboard on a terminal need not wait for.
    from bench.report.files import write_files
    from bench.report.page.page import page
    from bench.report.plots.draw import pictures
    from bench.report.plots.svg import standalone

    drawn = pictures(found, logs)
    links: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    seen = [picture for picture in drawn if picture.svg]
    for picture in seen:
        links.setdefault(picture.about, []).append((picture.caption, picture.name))
    texts = {picture.name: standalone(picture.svg) for picture in seen}
    texts["README.md"] = markdown(found, title=title, facts=facts, plots=links, since=asked.since)
    texts["index.html"] = page(
        found, title=title, facts=facts, pictures=drawn, galleries=asked.galleries, since=asked.since
    )
    return write_files(output, texts)
