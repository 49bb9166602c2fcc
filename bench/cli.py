"""The command line: parse, call, print. Every command imports what it needs inside itself."""

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from bench import cli_data, cli_evaluate
from bench.command import (
    FAILED,
    NOTHING,
    RESULTS,
    DataOption,
    JsonOption,
    MatrixArgument,
    ResultsOption,
    SeedsOption,
    SetOption,
    SkipOption,
    guarded,
    talk,
)

if TYPE_CHECKING:
    from pandas import DataFrame

    from bench.config import Job, Matrix
    from bench.datasets.split import Split

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Which loss, or which ensemble of losses, retrieves best on your data, and is the difference real?",
    epilog="Exit codes: 0 all good, 1 a job failed, 2 the request is wrong, 3 nothing was measured, 130 interrupted.",
)


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


def _load(matrix: str, seeds: int | None, changes: Sequence[str], skip_broken: bool = False) -> "Matrix":
    from bench.config import load

    loaded = load(matrix, [*changes, *([f"seeds={seeds}"] if seeds else [])])
    return _skipping(loaded) if skip_broken else loaded


def _controls(matrix: "Matrix", jobs: "Sequence[Job]", rows: "DataFrame") -> "tuple[Job, ...]":
    """What the ensembles of a matrix are held against, as far as `rows` decide it."""
    from bench.controls import controls

    return controls(jobs, rows) if matrix.controls else ()


def _skipping(matrix: "Matrix") -> "Matrix":
    """The matrix with `skip_broken` set on every dataset that has it."""
    from bench.catalogue import entries

    def able(name: str) -> bool:
        return name in entries("datasets") and "skip_broken" in entries("datasets")[name].parameters

    datasets = [
        part.model_copy(update={"parameters": {**part.parameters, "skip_broken": True}}) if able(part.name) else part
        for part in matrix.datasets
    ]
    return matrix.model_copy(update={"datasets": tuple(datasets)})


@guarded(app)
def run(
    matrix: MatrixArgument,
    results: ResultsOption = RESULTS,
    data: DataOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    workers: Annotated[int | None, typer.Option(min=1, help="Jobs at a time; default: GPUs, or cores.")] = None,
    threads: Annotated[
        int, typer.Option(min=1, help="Threads of a worker; results are compared at equal threads.")
    ] = 1,
    seeds: SeedsOption = None,
    changes: SetOption = [],  # noqa: B006
    skip_broken: SkipOption = False,
) -> None:
    """Run what is missing of a matrix; the same command again continues."""
    from bench import plan, pool, store
    from bench.expand import expand

    asked = _load(matrix, seeds, changes, skip_broken)
    jobs = expand(asked)
    devices = pool.devices(device)
    splits = plan.check(jobs, data)
    store.prepare(results)
    for sentence in store.set_aside(results):
        typer.echo(f"bench: {sentence}", err=True)
    rows = store.load(results)
    plan.check_same_data(jobs, splits, rows)
    count = workers or (len(devices) if devices != ["cpu"] else max(1, len(os.sched_getaffinity(0)) // threads))
    slots = [devices[index % len(devices)] for index in range(count)]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if plan.missing(jobs, store.statuses(rows)):
        _compare(splits)
    _execute(jobs, "cells", rows, results, data=data, workers=slots, threads=threads)
    rows = store.load(results)
    controls = _controls(asked, jobs, rows)
    _execute(controls, "controls", rows, results, data=data, workers=slots, threads=threads)
    _finish([*jobs, *controls], results)


def _compare(splits: "Mapping[str, Split]") -> None:
    """Find near-duplicates in every dataset once, before every worker asks; of large ones this takes minutes."""
    from bench.near_duplicates import near_duplicates

    with talk().status("comparing test photos with training photos"):
        for split in splits.values():
            near_duplicates(split)


def _execute(
    jobs: "Sequence[Job]",
    name: str,
    rows: "DataFrame",
    results: Path,
    *,
    data: Path | None,
    workers: Sequence[str],
    threads: int,
) -> None:
    """Run what is missing of these jobs by the stored `rows`, and show it."""
    from bench import plan, pool, store
    from bench.progress import show

    if not jobs:
        return
    todo = plan.missing(jobs, store.statuses(rows))
    console = talk()
    console.print(f"{len(jobs)} {name}, {len(jobs) - len(todo)} done before", highlight=False)
    if todo:
        for _ in show(pool.execute(todo, results, data=data, workers=workers, threads=threads), todo, console):
            pass


def _finish(jobs: "Sequence[Job]", results: Path) -> None:
    """Print the matrix's leaderboard and end with the exit code that its cells deserve."""
    from bench import plan, store
    from bench.report import boards, terminal

    rows = store.load(results)
    rows = rows[rows["key"].isin({job.key for job in jobs})]
    Console().print(terminal(boards(rows)))
    counts = plan.counts(jobs, store.statuses(rows))
    typer.echo(", ".join(f"{count} {status}" for status, count in sorted(counts.items())), err=True)
    if not counts["done"]:
        raise typer.Exit(NOTHING)
    if counts["failed"] or counts["new"]:
        raise typer.Exit(FAILED)


@guarded(app)
def plan(
    matrix: MatrixArgument,
    results: ResultsOption = RESULTS,
    data: DataOption = None,
    seeds: SeedsOption = None,
    changes: SetOption = [],  # noqa: B006
    skip_broken: SkipOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say what a matrix would do: problems, cells, and a forecast; trains nothing."""
    from bench import plan as planning
    from bench import store
    from bench.controls import waiting
    from bench.expand import expand

    asked = _load(matrix, seeds, changes, skip_broken)
    jobs = expand(asked)
    splits = planning.check(jobs, data)
    rows = store.load(results) if results.exists() else store.empty()
    statuses = store.statuses(rows)
    planning.check_same_data(jobs, splits, rows)
    undecided = waiting(jobs, rows) if asked.controls else 0
    jobs = (*jobs, *_controls(asked, jobs, rows))
    todo = planning.missing(jobs, statuses)
    cost = planning.forecast(todo, splits, rows)
    counts = planning.counts(jobs, statuses)
    if as_json:
        cells = [{"key": job.key, "status": statuses.get(job.key, "new")} for job in jobs]
        typer.echo(json.dumps({"cells": cells, "seconds": cost.seconds, "bytes": cost.bytes}, indent=2))
        return
    for job in jobs:
        name = f"{job.dataset.label}  {job.backbone.label}  {job.objective.label}  seed {job.seed}"
        typer.echo(f"{statuses.get(job.key, 'new'):9} {name}")
    time = "unknown until the first job ends" if cost.seconds is None else f"{cost.seconds / 60:.1f} min of one worker"
    typer.echo(f"\n{', '.join(f'{n} {status}' for status, n in sorted(counts.items()))}; to run: {len(todo)}")
    typer.echo(f"forecast: {time}, {cost.bytes / 1e6:.0f} MB of embeddings")
    if undecided:
        typer.echo(f"and the controls of {undecided} ensembles, which are chosen once their members are done")


@guarded(app)
def report(
    results: Annotated[
        Path, typer.Option("--results", metavar="DIR|FILE", help="Results, or a packed file.")
    ] = RESULTS,
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Where the report goes.")] = Path("reports"),
    matrix: Annotated[str | None, typer.Option("--matrix", help="Only the cells of this matrix.")] = None,
    seeds: SeedsOption = None,
    changes: SetOption = [],  # noqa: B006
    title: Annotated[str, typer.Option(help="Headline of the report.")] = "Leaderboard",
) -> None:
    """Write the leaderboard as Markdown, one HTML page and plots, and print it."""
    from bench import report as reporting
    from bench import store
    from bench.expand import expand

    rows = store.load(results)
    if matrix is not None:
        asked = _load(matrix, seeds, changes)
        jobs = expand(asked)
        keys = {job.key for job in (*jobs, *_controls(asked, jobs, rows))}
        rows = rows[rows["key"].isin(keys)]
    if rows.empty:
        typer.echo(
            f"bench: {results} holds no rows to report; run a matrix first, for example: bench run demo", err=True
        )
        raise typer.Exit(NOTHING)
    Console().print(reporting.terminal(reporting.boards(rows)))
    history, members = store.history(results), store.members(results)
    for path in reporting.write(rows, history, output, members=members, title=title):
        typer.echo(f"wrote {path}", err=True)


@guarded(app)
def complement(
    matrix: MatrixArgument,
    results: ResultsOption = RESULTS,
    data: DataOption = None,
    seeds: SeedsOption = None,
    changes: SetOption = [],  # noqa: B006
    skip_broken: SkipOption = False,
    size: Annotated[int, typer.Option(min=1, help="Members of a committee.")] = 4,
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Where the page and plots go.")] = Path(
        "reports"
    ),
    title: Annotated[str, typer.Option(help="Headline of the page.")] = "Who complements whom",
) -> None:
    """Say who complements whom, from stored embeddings: overlaps, gains of fusing pairs, the best committee."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # many small products, which more threads slow down
    from bench import plan, store
    from bench.complement import study
    from bench.expand import expand
    from bench.report.complementarity import terminal, write

    jobs = expand(_load(matrix, seeds, changes, skip_broken))
    splits = plan.check(jobs, data)
    plan.check_same_data(jobs, splits, store.load(results))
    studies = study(jobs, splits, results, size=size)
    Console().print(terminal(studies))
    for path in write(studies, output, title=title):
        typer.echo(f"wrote {path}", err=True)


@guarded(app)
def pack(
    file: Annotated[Path, typer.Argument(metavar="OUT.parquet")],
    results: ResultsOption = RESULTS,
) -> None:
    """Put every stored row, with its history, in one Parquet file."""
    from bench import store

    typer.echo(f"{file}: {store.pack(results, file)} rows", err=True)


@guarded(app)
def list_(
    kind: Annotated[ListKind, typer.Argument(help="What to list.")],
    as_json: JsonOption = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables (losses).")] = False,
) -> None:
    """List what there is: name, label with citation, parameters with defaults; the fields of a recipe."""
    from bench import catalogue, config, listing

    if kind is ListKind.matrices:
        found: list[dict[str, Any]] = [{"name": n, "label": config.headline(p)} for n, p in config.matrices().items()]
        text = [f"{part['name']}\n    {part['label']}" for part in found]
    elif kind is ListKind.recipe:
        found = listing.recipe()
        text = [f"{field['name']} = {json.dumps(field['default'])}\n    {field['label']}" for field in found]
    else:
        entries = list(catalogue.entries(kind).values())
        found = [listing.describe(entry) for entry in entries]
        text = [listing.markdown(entries)] if as_markdown else list(listing.lines(entries))
    typer.echo(json.dumps(found, indent=2) if as_json else "\n".join(text))


guarded(app)(cli_evaluate.evaluate)
app.add_typer(cli_data.app, name="data")


if __name__ == "__main__":
    sys.exit(app())
