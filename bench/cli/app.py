"""The command line: parse, call, print. Every command imports what it needs inside itself."""

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench.cli import data as data_commands
from bench.cli import evaluate, run
from bench.cli.options import (
    NOTHING,
    REPORT,
    RESULTS,
    DataOption,
    JsonOption,
    MatrixArgument,
    ResultsOption,
    SeedsOption,
    SetOption,
    SkipOption,
    asked_for,
    controls_of,
    guarded,
)

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Which loss, or which ensemble of losses, retrieves best on your data, and is the difference real?",
    epilog="Exit codes: 0 all good, 1 a job failed, 2 the request is wrong, 3 nothing was measured, 130 interrupted.",
)


guarded(app)(run.run)
guarded(app)(run.plan)


class ListKind(StrEnum):
    """What `bench list` can list."""

    losses = "losses"
    ensembles = "ensembles"
    model_ensembles = "model_ensembles"
    datasets = "datasets"
    backbones = "backbones"
    floors = "floors"
    metrics = "metrics"
    matrices = "matrices"
    recipe = "recipe"
    columns = "columns"


@guarded(app)
def report(
    results: Annotated[
        Path, typer.Option("--results", metavar="DIR|FILE", help="Folder of stored results, or a packed file.")
    ] = RESULTS,
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder to write the report to.")] = REPORT,
    matrix: Annotated[
        str | None, typer.Option("--matrix", metavar="MATRIX", help="Report only the cells of this matrix.")
    ] = None,
    seeds: SeedsOption = None,
    changes: SetOption = [],  # noqa: B006
    title: Annotated[str, typer.Option(help="Heading of the report.")] = "Leaderboard",
) -> None:
    """Print the leaderboard, and write it as Markdown, one HTML page and plots."""
    from bench import report as reporting
    from bench import store
    from bench.matrix.expand import expand
    from bench.matrix.job import Job

    rows, jobs = store.load(results), tuple[Job, ...]()
    if matrix is not None:
        asked = asked_for(matrix, seeds, changes)
        jobs = expand(asked)
        jobs = (*jobs, *controls_of(asked, jobs, rows))
        rows = rows[rows["key"].isin({job.key for job in jobs})]
    if rows.empty:
        typer.echo(
            f"bench: {results} has no results to report; run a matrix first, for example: bench run demo", err=True
        )
        raise typer.Exit(NOTHING)
    Console().print(reporting.terminal(reporting.boards(rows, jobs)))
    history, members = store.history(results), store.members(results)
    for path in reporting.write(rows, history, output, members=members, title=title, jobs=jobs):
        typer.echo(f"wrote {path}", err=True)


@guarded(app)
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
) -> None:
    """Show which objectives find what others miss: overlaps, gains of fused pairs, the best committee."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # many small products, which more threads slow down
    from bench import store
    from bench.analysis.complement import study
    from bench.execute import plan
    from bench.matrix.expand import expand
    from bench.report.complement import terminal, write

    jobs = expand(asked_for(matrix, seeds, changes, skip_broken))
    splits = plan.check(jobs, data)
    plan.check_same_data(jobs, splits, store.load(results))
    studies = study(jobs, splits, results, size=size)
    Console().print(terminal(studies))
    for path in write(studies, output, title=title):
        typer.echo(f"wrote {path}", err=True)


@guarded(app)
def pack(
    file: Annotated[Path, typer.Argument(metavar="OUT.parquet", help="File to write.")],
    results: ResultsOption = RESULTS,
) -> None:
    """Write all stored results, with their training histories, to one Parquet file."""
    from bench import store

    typer.echo(f"{file}: {store.pack(results, file)} rows", err=True)


@guarded(app)
def list_(
    kind: Annotated[ListKind, typer.Argument(help="What to list.")],
    as_json: JsonOption = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
) -> None:
    """List what a matrix may use, with its source, parameters and defaults; also the columns of a row."""
    from bench.cli import listing
    from bench.matrix import catalogue, file

    if kind is ListKind.matrices:
        found: list[dict[str, Any]] = [{"name": n, "label": file.headline(p)} for n, p in file.matrices().items()]
        text = [f"{part['name']}\n    {part['label']}" for part in found]
    elif kind is ListKind.recipe:
        found = listing.recipe()
        text = [f"{field['name']} = {json.dumps(field['default'])}\n    {field['label']}" for field in found]
    elif kind is ListKind.columns:
        found = listing.columns()
        text = listing.columns_markdown() if as_markdown else [f"{c['name']}\n    {c['label']}" for c in found]
    else:
        entries = list(catalogue.entries(kind).values())
        found = [listing.describe(entry) for entry in entries]
        text = [listing.markdown(entries)] if as_markdown else list(listing.lines(entries))
    typer.echo(json.dumps(found, indent=2) if as_json else "\n".join(text))


guarded(app)(evaluate.evaluate)
app.add_typer(data_commands.app, name="data")


if __name__ == "__main__":
    sys.exit(app())
