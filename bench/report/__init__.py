"""The report: a Markdown leaderboard, one HTML page and the plots, all from stored rows."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench.analysis.boards import Searches
from bench.matrix.job import Job
from bench.report.markdown import boards, markdown, terminal

__all__ = ["boards", "markdown", "terminal", "write"]


def write(
    rows: pd.DataFrame,
    history: pd.DataFrame,
    output: Path,
    *,
    members: pd.DataFrame | None = None,
    title: str = "Leaderboard",
    jobs: Sequence[Job] = (),
    searched: Searches | None = None,
) -> list[Path]:
    """Write README.md, index.html and the plots of `rows` (as `bench.load` gives them) into `output`.

    `history` and `members` are as `bench.store` gives them; labels and kinds are those of `jobs`, else the stored ones.
    what is `searched` is said of its board.
    Returns the files, plots first. The same rows give the same bytes. Raises ValueError where there are no rows, and
    ConfigError where `output` cannot be written or holds a file of the same name that is not from a report.
    """
    # Drawing takes a second to import, which a leaderboard on a terminal need not wait for.
    from bench.analysis.facts import facts
    from bench.report.files import write_files
    from bench.report.page.page import page
    from bench.report.plots.draw import pictures
    from bench.report.plots.svg import Logs, standalone

    if rows.empty:
        raise ValueError("there are no rows to report; run a matrix first, for example `bench run demo`.")
    found, known = boards(rows, jobs, searched), facts(rows)
    drawn = pictures(found, Logs(history, pd.DataFrame() if members is None else members))
    links: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for picture in drawn:
        links.setdefault(picture.about, []).append((picture.caption, picture.name))
    texts = {picture.name: standalone(picture.svg) for picture in drawn}
    texts["README.md"] = markdown(found, title=title, facts=known, plots=links)
    texts["index.html"] = page(found, title=title, facts=known, pictures=drawn)
    return write_files(output, texts)
