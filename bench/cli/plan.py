"""`bench plan`: what a matrix would do."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import (
    RESULTS,
    DataOption,
    JsonOption,
    MatrixArgument,
    PluginOption,
    ResultsOption,
    SeedsOption,
    SetOption,
    SkipOption,
    asked_for,
    controls_of,
    tell_unused,
)
from bench.cli.plan_decide import decide as two_methods
from bench.cli.run import trace_of

if TYPE_CHECKING:
    from pandas import DataFrame

    from bench.datasets.split import Split
    from bench.execute.plan import Forecast
    from bench.matrix.job import Job
    from bench.store.row import Status

__all__ = ["plan"]

LISTED = 100
"""Cells that are listed one by one unless told otherwise; of more, each board has a line."""


def plan(
    matrix: MatrixArgument,
    results: ResultsOption = RESULTS,
    data: DataOption = None,
    seeds: SeedsOption = None,
    changes: SetOption = [],  # noqa: B006
    skip_broken: SkipOption = False,
    plugin: PluginOption = [],  # noqa: B006
    cells: Annotated[
        bool | None,
        typer.Option(
            "--cells/--no-cells", help=f"List every cell, or only count them; by default up to {LISTED} are listed."
        ),
    ] = None,
    as_json: JsonOption = False,
    decide: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="A B",
            help="Instead: the seeds that two methods (labels, keys or cells) still need to be told apart, and their "
            "hours, from stored results.",
        ),
    ] = None,
    metric: Annotated[str, typer.Option(metavar="NAME", help="With --decide: the score.")] = "recall_at_1",
) -> None:
    """Say what a matrix would do: problems, cells, and a forecast; trains nothing."""
    from bench import store
    from bench.analysis.controls import waiting
    from bench.datasets.split import remarks
    from bench.execute import data_check
    from bench.execute import plan as planning
    from bench.matrix.expand import expand

    asked = asked_for(matrix, seeds, changes, skip_broken, plugins=plugin)
    jobs = expand(asked)
    tell_unused(jobs)
    if decide:
        from bench.analysis.methods_of_rows import Source

        stored = Source(results, _stored(results), jobs)
        two_methods(decide, matrix=matrix, source=stored, metric=metric, as_json=as_json)
        return
    splits = data_check.check(jobs, data)
    rows = _stored(results)
    statuses = store.statuses(rows)
    data_check.check_same_data(jobs, splits, rows)
    undecided = waiting(jobs, rows) if asked.controls else 0
    jobs = (*jobs, *controls_of(asked, jobs, rows))
    todo = planning.without_result(jobs, statuses)
    again = planning.without_embeddings(todo, statuses, partial(store.has_embeddings, results))
    todo += again.values()
    cost = planning.forecast(todo, splits, rows)
    told = {label: remarks(split) for label, split in splits.items()}
    if as_json:
        each = [
            {"key": job.key, "status": statuses.get(job.key, "new"), "runs_again": job.key in again} for job in jobs
        ]
        found = {"cells": each, "seconds": cost.seconds, "bytes": cost.bytes, "remarks": told}
        typer.echo(json.dumps(found, indent=2))
        store.check_writable(results)
        return
    for label, remark in ((label, remark) for label, several in told.items() for remark in several):
        typer.echo(f"{label}: {remark}")
    remarked = {job.key: _remark(job, splits, statuses, results, again=job.key in again) for job in jobs}
    listed = len(jobs) <= LISTED if cells is None else cells
    for line in _listed(jobs, statuses, remarked) if listed else _counted(jobs, statuses, remarked):
        typer.echo(line)
    typer.echo(f"\n{_counts(planning.counts(jobs, statuses))}; to run: {len(todo)}")
    typer.echo(f"forecast: {_time(cost)}, {cost.bytes / 1e6:.0f} MB of embeddings")
    if undecided:
        typer.echo(f"and the controls of {undecided} ensembles, which are chosen once their members are done")
    store.check_writable(results)
    if todo:
        typer.echo("not tried here: building each backbone and objective, which `bench run` does before it trains")


def _stored(results: Path) -> "DataFrame":
    from bench import store

    try:
        return store.load(results)
    except FileNotFoundError:
        return store.empty()


def _listed(jobs: "Sequence[Job]", statuses: "Mapping[str, Status]", remarked: Mapping[str, str]) -> Iterator[str]:
    """A line for each cell."""
    from bench.cli.job_name import name

    for job in jobs:
        remark = remarked[job.key]
        yield f"{statuses.get(job.key, 'new'):9} {name(job)}{': ' * bool(remark)}{remark}"


def _counted(jobs: "Sequence[Job]", statuses: "Mapping[str, Status]", remarked: Mapping[str, str]) -> Iterator[str]:
    """A line for each board, and for each remark."""
    boards: dict[str, Counter[str]] = {}
    for job in jobs:
        board = boards.setdefault(f"{job.dataset.label} {job.backbone.label}", Counter())
        board[statuses.get(job.key, "new")] += 1
    for place, counts in boards.items():
        yield f"{place}: {_counts(counts)}"
    for remark, count in Counter(remark for remark in remarked.values() if remark).items():
        yield f"{count} {'cell' if count == 1 else 'cells'}: {remark}"
    yield "`bench plan --cells` lists every cell"


def _remark(
    job: "Job", splits: "Mapping[str, Split]", statuses: "Mapping[str, Status]", results: Path, *, again: bool
) -> str:
    """What there is to say of a cell; nothing of most."""
    from bench.execute.data_check import unsuited

    if again:
        return "will be trained again, for its embeddings are gone"
    if trace := trace_of(job, statuses, results):
        return f"{trace} says where it failed"
    split = splits[job.dataset.label]
    why = unsuited(job, split) if statuses.get(job.key, "new") in ("new", "skipped") else None
    return f"will be skipped, for {why}" if why else ""


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))


def _time(cost: "Forecast") -> str:
    return "unknown until the first job ends" if cost.seconds is None else f"{cost.seconds / 60:.1f} min of one worker"
