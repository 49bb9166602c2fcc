"""The command `bench complement`: which objectives find what others miss."""

import os
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import (
    REPORT,
    RESULTS,
    DataOption,
    MatrixArgument,
    PluginOption,
    ResultsOption,
    SeedsOption,
    SetOption,
    SkipOption,
    asked_for,
)
from bench.cli.output import console

__all__ = ["complement"]


def complement(
    matrix: MatrixArgument,
    results: ResultsOption = RESULTS,
    data: DataOption = None,
    seeds: SeedsOption = None,
    changes: SetOption = [],  # noqa: B006
    skip_broken: SkipOption = False,
    size: Annotated[int, typer.Option(min=1, help="Number of members of a committee.")] = 4,
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder to write the page to.")] = REPORT,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Who complements whom",
    plugin: PluginOption = [],  # noqa: B006
) -> None:
    """Show which objectives find what others miss: overlaps, gains of fused pairs, the best committee."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # many small products, which more threads slow down
    from bench import store
    from bench.analysis.complement import study
    from bench.execute import data_check
    from bench.matrix.expand import expand
    from bench.matrix.job import ConfigError
    from bench.report.complement import terminal, write

    jobs = expand(asked_for(matrix, seeds, changes, skip_broken, plugins=plugin))
    splits = data_check.check(jobs, data)
    data_check.check_same_data(jobs, splits, store.load(results))
    if results.is_file():
        raise ConfigError(f"{results}: is a packed file, which holds no embeddings; name a folder of results")
    store.fetch_arrays(results, [job.key for job in jobs])
    studies = study(jobs, splits, results, size=size)
    console().print(terminal(studies))
    for path in write(studies, output, title=title):
        typer.echo(f"wrote {path}", err=True)
