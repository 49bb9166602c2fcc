"""`bench export`: the leaderboards as CSV, JSON or LaTeX."""

import os
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import RESULTS, OnlyOption, PluginOption, SeedsOption, SetOption, SourceOption
from bench.cli.stored import ended, stored

__all__ = ["export"]


def export(
    kind: Annotated[str, typer.Argument(metavar="FORMAT", help="csv, json, or latex, with the package booktabs.")],
    results: SourceOption = RESULTS,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="File to write; by default the text is printed.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    metric: Annotated[
        list[str],
        typer.Option("--metric", metavar="NAME", help="Only this metric. May be repeated, as columns go."),
    ] = [],  # noqa: B006
    matrix: Annotated[
        list[str],
        typer.Option("--matrix", metavar="MATRIX", help="Only the cells of this matrix. May be repeated."),
    ] = [],  # noqa: B006
    only: OnlyOption = [],  # noqa: B006
    seeds: SeedsOption = None,
    changes: SetOption = [],  # noqa: B006
    plugin: PluginOption = [],  # noqa: B006
) -> None:
    """Write the leaderboards for other programs, or for a paper."""
    from bench.analysis.boards import boards
    from bench.matrix.job import ConfigError
    from bench.report.export import export as exported

    if output is not None and not force and os.path.lexists(output):
        raise ConfigError(f"{output}: is there already; name another file with --output, or add --force")
    found = stored(results, matrix, only=only, seeds=seeds, changes=changes, plugin=plugin)
    if "done" not in set(found.rows["status"]):
        ended("nothing was measured: no job has finished")
    text = exported(boards(*found), kind, metrics=metric)
    if output is None:
        typer.echo(text, nl=False)
        return
    _write(output, text)
    typer.echo(f"wrote {output}", err=True)


def _write(file: Path, text: str) -> None:
    """Write the file whole or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    from bench.matrix.job import ConfigError
    from bench.report.files import replace_file

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, text)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ConfigError(f"{file}: cannot be written ({why}); name another file with --output") from error
