"""`bench run` and `bench plan`: what is missing of a matrix, run or only told."""

import json
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from bench.cli.options import (
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
    asked_for,
    controls_of,
    talk,
)

if TYPE_CHECKING:
    from pandas import DataFrame

    from bench.datasets.split import Split
    from bench.matrix.job import Job

__all__ = ["plan", "run"]


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
    from bench import store
    from bench.execute import plan as planning
    from bench.execute import pool
    from bench.matrix.expand import expand

    asked = asked_for(matrix, seeds, changes, skip_broken)
    jobs = expand(asked)
    devices = pool.devices(device)
    splits = planning.check(jobs, data)
    store.prepare(results)
    for sentence in store.set_aside(results):
        typer.echo(f"bench: {sentence}", err=True)
    rows = store.load(results)
    planning.check_same_data(jobs, splits, rows)
    count = workers or (len(devices) if devices != ["cpu"] else max(1, len(os.sched_getaffinity(0)) // threads))
    slots = [devices[index % len(devices)] for index in range(count)]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if planning.missing(jobs, store.statuses(rows)):
        _compare(splits)
    _execute(jobs, "cells", rows, results, data=data, workers=slots, threads=threads)
    rows = store.load(results)
    controls = controls_of(asked, jobs, rows)
    _execute(controls, "controls", rows, results, data=data, workers=slots, threads=threads)
    _finish([*jobs, *controls], results)


def _compare(splits: "Mapping[str, Split]") -> None:
    """Find near-duplicates in every dataset once, before every worker asks; of large ones this takes minutes."""
    from bench.datasets.contamination.near_duplicates import near_duplicates

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
    from bench import store
    from bench.cli.progress import show
    from bench.execute import plan as planning
    from bench.execute import pool

    if not jobs:
        return
    todo = planning.missing(jobs, store.statuses(rows))
    console = talk()
    console.print(f"{len(jobs)} {name}, {len(jobs) - len(todo)} done before", highlight=False)
    if todo:
        for _ in show(pool.execute(todo, results, data=data, workers=workers, threads=threads), todo, console):
            pass


def _finish(jobs: "Sequence[Job]", results: Path) -> None:
    """Print the matrix's leaderboard and end with the exit code that its cells deserve."""
    from bench import store
    from bench.analysis.boards import boards
    from bench.execute import plan as planning
    from bench.report import terminal

    rows = store.load(results)
    rows = rows[rows["key"].isin({job.key for job in jobs})]
    Console().print(terminal(boards(rows, jobs)))
    counts = planning.counts(jobs, store.statuses(rows))
    typer.echo(", ".join(f"{count} {status}" for status, count in sorted(counts.items())), err=True)
    if not counts["done"]:
        raise typer.Exit(NOTHING)
    if counts["failed"] or counts["new"]:
        raise typer.Exit(FAILED)


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
    from bench import store
    from bench.analysis.controls import waiting
    from bench.execute import plan as planning
    from bench.matrix.expand import expand

    asked = asked_for(matrix, seeds, changes, skip_broken)
    jobs = expand(asked)
    splits = planning.check(jobs, data)
    rows = store.load(results) if results.exists() else store.empty()
    statuses = store.statuses(rows)
    planning.check_same_data(jobs, splits, rows)
    undecided = waiting(jobs, rows) if asked.controls else 0
    jobs = (*jobs, *controls_of(asked, jobs, rows))
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
