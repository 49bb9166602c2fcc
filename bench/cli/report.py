"""The command `bench report`: the leaderboard on the terminal, and its files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import (
    REPORT,
    RESULTS,
    DataOption,
    OnlyOption,
    PluginOption,
    SeedsOption,
    SetOption,
    SourceOption,
)
from bench.cli.output import LONG, PLAIN, console, say
from bench.cli.stored import Stored, ended, stored

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup
    from pandas import DataFrame

    from bench.analysis.boards import Board
    from bench.report.changes import Since
    from bench.report.plots.svg import Logs

__all__ = ["report"]


def report(
    results: SourceOption = RESULTS,
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder to write the report to.")] = REPORT,
    matrix: Annotated[
        list[str],
        typer.Option("--matrix", metavar="MATRIX", help="Report only the cells of this matrix. May be repeated."),
    ] = [],  # noqa: B006
    only: OnlyOption = [],  # noqa: B006
    seeds: SeedsOption = None,
    changes: SetOption = [],  # noqa: B006
    title: Annotated[str, typer.Option(help="Heading of the report.")] = "Leaderboard",
    open_: Annotated[bool, typer.Option("--open", help="Show the page in a browser.")] = False,
    galleries: Annotated[
        bool,
        typer.Option(
            "--galleries", help="Show on the page, in pictures of the data, what one method finds and another misses."
        ),
    ] = False,
    data: DataOption = None,
    compare: Annotated[
        Path | None,
        typer.Option(
            "--compare",
            metavar="OTHER",
            help="Say what changed since these older results: a packed file, or a folder.",
        ),
    ] = None,
    front: Annotated[
        Path | None,
        typer.Option(
            "--front", metavar="DIR", help="Also write a page that leads to every report in a folder below this one."
        ),
    ] = None,
    plugin: PluginOption = [],  # noqa: B006
) -> None:
    """Print the leaderboard, and write it as Markdown, one HTML page and plots.

    Only --galleries reads the data. Where that, or what is stored of the queries, is missing or has changed, a sentence
    stands in place of the pictures.
    """
    from bench import report as reporting
    from bench.analysis.provenance_facts import facts

    asked = stored(results, matrix, only=only, seeds=seeds, changes=changes, plugin=plugin)
    found = reporting.boards(*asked)
    if sum(len(board.lines) for board in found) <= LONG:  # more would fill no terminal, and the files have them
        console().print(reporting.terminal(found, spelt=PLAIN))
    beside = reporting.Asked(
        _galleries(found, asked.rows, results, data) if galleries else {},
        _since(results, asked, compare) if compare else None,
    )
    logs = _logs(found, results)
    written = reporting.write_boards(found, facts(asked.rows), logs, output, title=title, asked=beside)
    for path in [*written, *(_front(front) if front else [])]:
        typer.echo(f"wrote {path}", err=True)
    if open_:
        typer.launch(str(output / "index.html"))
    if "done" not in set(asked.rows["status"]):
        ended("nothing was measured: no job has finished")


def _front(folder: Path) -> list[Path]:
    from bench.report.front import write_front

    return write_front(folder)


def _galleries(
    boards: "Sequence[Board]", rows: "DataFrame", results: Path, data: Path | None
) -> "Mapping[tuple[str, str], Markup]":
    """The galleries of the page, once it is said which are not there."""
    from bench.report.gallery import galleries

    made = galleries(boards, rows, results, data)
    for sentence in made.problems:
        say(sentence)
    return made.html


def _since(results: Path, asked: Stored, other: Path) -> "Since":
    """What changed since other results."""
    from bench.analysis.changes import changes
    from bench.analysis.methods_of_rows import Source
    from bench.matrix.job import ConfigError
    from bench.report.changes import Since

    if other.resolve() == results.resolve():
        raise ConfigError(f"{other} is what is reported; name older results with --compare")
    older = stored(other, [], only=(), seeds=None, changes=(), plugin=()).rows
    return Since(other.name, changes(Source(results, asked.rows, asked.jobs), Source(other, older, asked.jobs)))


def _logs(boards: "Sequence[Board]", results: Path) -> "Logs":
    """What the plots need of the courses of jobs."""
    from bench import store
    from bench.analysis.class_losses import stored_classes
    from bench.report.plots.draw import drawn
    from bench.report.plots.svg import Logs

    keys = drawn(boards)
    epochs, members = store.history(results, keys=keys.epochs), store.members(results, keys=keys.members)
    return Logs(epochs, members, stored_classes(boards, results))
