"""`bench run` and `bench plan`: the cells of a matrix that have no result yet, run or only told."""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.decide import decide as two_methods
from bench.cli.interrupts import stop
from bench.cli.options import (
    FAILED,
    NOTHING,
    RESULTS,
    AddressOption,
    CheckpointOption,
    CpusOption,
    DataOption,
    DeviceOption,
    ExecutorOption,
    GpusOption,
    JsonOption,
    MatrixArgument,
    MemoryLimitOption,
    PluginOption,
    ResultsOption,
    SeedsOption,
    SetOption,
    SkipOption,
    ThreadsOption,
    TimeLimitOption,
    VersionsOption,
    WorkersOption,
    asked_for,
    controls_of,
    talk,
    tell_unused,
)
from bench.cli.output import LONG, console

if TYPE_CHECKING:
    from pandas import DataFrame

    from bench.analysis.stopping import Until
    from bench.datasets.split import Split
    from bench.execute.plan import Forecast
    from bench.matrix.job import Job
    from bench.store.row import Status

__all__ = ["plan", "run"]


def run(
    matrix: MatrixArgument,
    results: ResultsOption = RESULTS,
    data: DataOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    threads: ThreadsOption = 1,
    checkpoint_every: CheckpointOption = 5.0,
    time_limit: TimeLimitOption = None,
    memory_limit: MemoryLimitOption = None,
    seeds: SeedsOption = None,
    changes: SetOption = [],  # noqa: B006
    skip_broken: SkipOption = False,
    plugin: PluginOption = [],  # noqa: B006
    executor: ExecutorOption = "local",
    address: AddressOption = None,
    cpus_per_job: CpusOption = None,
    gpus_per_job: GpusOption = None,
    any_versions: VersionsOption = False,
    retry: Annotated[
        str | None,
        typer.Option(
            metavar="WHICH",
            help="failed or skipped: run only the cells that ended so before; none: only cells without a row. By "
            "default all of these are run.",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Run only this share of the cells, such as 3/16; all shards together are the matrix. Model ensembles "
            "and controls are run by the shard that has time when their members have ended.",
        ),
    ] = None,
    max_failures: Annotated[
        int | None, typer.Option(min=1, help="Start no more jobs after so many have failed; exit code 1.")
    ] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="The same as --max-failures 1.")] = False,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="leaders or order: add seeds look by look (at 2, 3, 5, 7, 10) until it is decided which methods lead, "
            "or how all of them rank; who cannot lead gets no more seeds. Floors and untrained lines keep the matrix's "
            "seeds. Controls of ensembles, if the matrix has them, come last, for the seeds that ran.",
        ),
    ] = None,
    max_seeds: Annotated[int | None, typer.Option(help="With --until: seeds of a method at most; default: 10.")] = None,
    alpha: Annotated[float | None, typer.Option(help="With --until: its error rate; default: 0.05.")] = None,
    metric: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --until: the score that decides; default: recall_at_1.")
    ] = None,
) -> None:
    """Run the cells of a matrix that have no result yet; repeat the command to resume."""
    import bench
    from bench.cli.progress import display

    events = bench.run(
        matrix,
        results=results,
        data=data,
        device=device,
        workers=workers,
        threads=threads,
        checkpoint_every=checkpoint_every,
        time_limit=time_limit,
        memory_limit=memory_limit,
        executor=executor,
        address=address,
        cpus_per_job=cpus_per_job,
        gpus_per_job=gpus_per_job,
        any_versions=any_versions,
        retry=retry,
        shard=shard,
        max_failures=1 if fail_fast else max_failures,
        seeds=seeds,
        changes=changes,
        skip_broken=skip_broken,
        plugins=plugin,
        stop=stop(),
        until=_rule(until, {"most": max_seeds, "alpha": alpha, "metric": metric}),
    )
    jobs: dict[str, Job] = {}
    with closing(events), display(talk()) as shown:
        for event in events:
            jobs[event.job.key] = event.job
            shown.show(event)
    _finish(list(jobs.values()), results)


def _rule(name: str | None, choices: "Mapping[str, Any]") -> "Until | None":
    """The rule that is asked for, with what is chosen of it."""
    from bench.analysis.stopping import Until
    from bench.matrix.job import ConfigError

    chosen = {key: value for key, value in choices.items() if value is not None}
    if name is None and chosen:
        option = {"most": "max-seeds"}.get(next(iter(chosen)), next(iter(chosen)))
        raise ConfigError(f"--{option} belongs to --until: add --until leaders, or leave it out")
    return None if name is None else Until(name, **chosen)


def _finish(jobs: "Sequence[Job]", results: Path) -> None:
    """Print the matrix's leaderboard and end with the exit code that its cells deserve."""
    from bench import store
    from bench.analysis.boards import boards
    from bench.cli.progress import name
    from bench.execute import plan as planning
    from bench.report import terminal

    if not jobs:
        typer.echo("no cell of this matrix is to be run here", err=True)
        return
    rows = store.load(results)
    rows = rows[rows["key"].isin({job.key for job in jobs})]
    if len(jobs) > LONG:
        typer.echo(f"the leaderboard of {len(jobs):,} cells is long: bench report --results {results}", err=True)
    else:
        console().print(terminal(boards(rows, jobs)))
    statuses = store.statuses(rows)
    for job in jobs:
        if trace := _trace(job, statuses, results):
            typer.echo(f"{name(job)} failed: {trace} says where", err=True)
    counts = planning.counts(jobs, statuses)
    typer.echo(", ".join(f"{count} {status}" for status, count in sorted(counts.items())), err=True)
    if not counts["done"]:
        raise typer.Exit(NOTHING)
    if counts["failed"] or counts["new"]:
        raise typer.Exit(FAILED)


def _trace(job: "Job", statuses: "Mapping[str, Status]", results: Path) -> Path | None:
    """The file that says where a job failed, if it did and there is one."""
    if statuses.get(job.key) != "failed":
        return None
    file = results / job.key / "error.txt"
    return file if file.exists() else None


def _stored(results: Path) -> "DataFrame":
    from bench import store

    try:
        return store.load(results)
    except FileNotFoundError:
        return store.empty()


def _remark(job: "Job", split: "Split", status: str, trace: Path | None) -> str:
    """What there is to say of a cell of the plan, after its name."""
    from bench.execute.plan import unsuited

    if trace is not None:
        return f": {trace} says where it failed"
    why = unsuited(job, split) if status in ("new", "skipped") else None
    return f": will be skipped, for {why}" if why else ""


def plan(
    matrix: MatrixArgument,
    results: ResultsOption = RESULTS,
    data: DataOption = None,
    seeds: SeedsOption = None,
    changes: SetOption = [],  # noqa: B006
    skip_broken: SkipOption = False,
    plugin: PluginOption = [],  # noqa: B006
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
    from bench.cli.progress import name
    from bench.datasets.split import remarks
    from bench.execute import plan as planning
    from bench.matrix.expand import expand

    asked = asked_for(matrix, seeds, changes, skip_broken, plugins=plugin)
    jobs = expand(asked)
    tell_unused(jobs)
    if decide:
        from bench.analysis.scored_methods import Source

        stored = Source(results, _stored(results), jobs)
        two_methods(decide, matrix=matrix, source=stored, metric=metric, as_json=as_json)
        return
    splits = planning.check(jobs, data)
    rows = _stored(results)
    statuses = store.statuses(rows)
    planning.check_same_data(jobs, splits, rows)
    undecided = waiting(jobs, rows) if asked.controls else 0
    jobs = (*jobs, *controls_of(asked, jobs, rows))
    todo = planning.without_result(jobs, statuses)
    again = planning.without_embeddings(todo, statuses, partial(store.has_embeddings, results))
    todo += again.values()
    cost = planning.forecast(todo, splits, rows)
    counts = planning.counts(jobs, statuses)
    told = {label: remarks(split) for label, split in splits.items()}
    if as_json:
        cells = [{"key": job.key, "status": statuses.get(job.key, "new")} for job in jobs]
        found = {"cells": cells, "seconds": cost.seconds, "bytes": cost.bytes, "remarks": told}
        typer.echo(json.dumps(found, indent=2))
        store.check_writable(results)
        return
    for label, remark in ((label, remark) for label, several in told.items() for remark in several):
        typer.echo(f"{label}: {remark}")
    for job in jobs:
        status = statuses.get(job.key, "new")
        remark = _remark(job, splits[job.dataset.label], status, _trace(job, statuses, results))
        remark = ": will be trained again, for its embeddings are gone" if job.key in again else remark
        typer.echo(f"{status:9} {name(job)}{remark}")
    typer.echo(f"\n{', '.join(f'{n} {status}' for status, n in sorted(counts.items()))}; to run: {len(todo)}")
    typer.echo(f"forecast: {_time(cost)}, {cost.bytes / 1e6:.0f} MB of embeddings")
    if undecided:
        typer.echo(f"and the controls of {undecided} ensembles, which are chosen once their members are done")
    store.check_writable(results)
    if todo:
        typer.echo("not tried here: building each backbone and objective, which `bench run` does before it trains")


def _time(cost: "Forecast") -> str:
    return "unknown until the first job ends" if cost.seconds is None else f"{cost.seconds / 60:.1f} min of one worker"
