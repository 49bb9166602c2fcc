"""The command `bench pack`: all rows of a folder of results in one Parquet file."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import RESULTS, ResultsOption
from bench.cli.stored import ended

__all__ = ["pack"]


def pack(
    file: Annotated[Path, typer.Argument(metavar="OUT.parquet", help="File to write.")],
    results: ResultsOption = RESULTS,
    queries: Annotated[
        bool, typer.Option("--queries/--no-queries", help="Keep the score of every query; most of the size.")
    ] = True,
    add: Annotated[
        list[Path],
        typer.Option(metavar="FILE", help="Add the rows of this packed file that the folder lacks. May be repeated."),
    ] = [],  # noqa: B006
) -> None:
    """Write all stored results, with their training histories, to one Parquet file."""
    from bench import store

    count = store.pack(results, file, queries=queries, others=add)
    if not count:
        ended(f"{results} has no results to pack; run a matrix first, for example: bench run demo")
    typer.echo(f"{file}: {count} rows", err=True)
