"""`bench run`: the cells of a matrix that have no result yet."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.exit_codes import FAILED, NOTHING
from bench.cli.interrupts import stop
from bench.cli.options import (
    RESULTS,
    AddressOption,
    CheckpointOption,
    CpusOption,
    DataOption,
    DeviceOption,
    ExecutorOption,
    GpusOption,
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
)
from bench.cli.output import LONG, console, talk

if TYPE_CHECKING:
    from bench.analysis.stopping import Until
    from bench.matrix.job import Job
    from bench.store.row import Status

__all__ = ["run", "trace_of"]


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
    from bench.cli.job_name import name
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
        if trace := trace_of(job, statuses, results):
            typer.echo(f"{name(job)} failed: {trace} says where", err=True)
    counts = planning.counts(jobs, statuses)
    typer.echo(", ".join(f"{count} {status}" for status, count in sorted(counts.items())), err=True)
    if not counts["done"]:
        raise typer.Exit(NOTHING)
    if counts["failed"] or counts["new"]:
        raise typer.Exit(FAILED)


def trace_of(job: "Job", statuses: "Mapping[str, Status]", results: Path) -> Path | None:
    """The file that says where a job failed, if it did and there is one."""
    if statuses.get(job.key) != "failed":
        return None
    file = results / job.key / "error.txt"
    return file if file.exists() else None
