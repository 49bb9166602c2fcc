"""`bench status`: how a matrix stands, seen from another terminal than the one that runs it."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.interrupts import INTERRUPTED
from bench.cli.job_log import job_log, the_job
from bench.cli.options import (
    RESULTS,
    JsonOption,
    MatrixArgument,
    PluginOption,
    ResultsOption,
    SeedsOption,
    SetOption,
    SkipOption,
    asked_for,
)

if TYPE_CHECKING:
    from bench.execute.status import Running, Standing
    from bench.matrix.file import Matrix
    from bench.matrix.job import Job

__all__ = ["status"]

PAUSE = 3.0
"""Seconds between two looks of `--watch`."""


def status(
    matrix: MatrixArgument,
    results: ResultsOption = RESULTS,
    seeds: SeedsOption = None,
    changes: SetOption = [],  # noqa: B006
    skip_broken: SkipOption = False,
    plugin: PluginOption = [],  # noqa: B006
    watch: Annotated[bool, typer.Option("--watch", help="Look again every few seconds, until nothing runs.")] = False,
    log: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Instead: all that is known of the job with this key, its traceback too."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say how a matrix stands while it runs, here or on other machines: done, running, failed, time left."""
    from bench.matrix.job import ConfigError

    if (watch and as_json) or (log is not None and (watch or as_json)):
        both = ["--watch" if watch else "--log", "--json" if as_json else "--log"]
        raise ConfigError(f"{both[0]} and {both[1]} exclude each other: leave one out")
    asked = asked_for(matrix, seeds, changes, skip_broken, plugins=plugin)
    found = _look(asked, results)
    if log is not None:
        job = the_job(found, log)
        typer.echo("\n".join(_logged(found, job, results)))
    elif as_json:
        typer.echo(json.dumps(_values(found), indent=2))
    elif watch:
        try:
            _watch(asked, results, found)
        except KeyboardInterrupt:  # how one ends it
            raise typer.Exit(INTERRUPTED) from None
    else:
        typer.echo(_text(found))


def _logged(found: "Standing", job: "Job", results: Path) -> list[str]:
    """All that there is to read of a job; of one that runs, how far it is."""
    running = [f"running: {_far(one)}" for one in found.running if one.job.key == job.key]
    return [*job_log(found, job, results), *running]


def _look(matrix: "Matrix", results: Path) -> "Standing":
    from bench.execute.status import standing
    from bench.matrix.expand import expand

    return standing(expand(matrix), results, choose=matrix.controls)


def _watch(matrix: "Matrix", results: Path, found: "Standing") -> None:
    """Draw over what was drawn on a terminal; elsewhere print what has changed."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    with Live(Text(_text(found)), console=console, auto_refresh=False, vertical_overflow="visible") as drawn:
        while found.running or found.others:
            time.sleep(PAUSE)
            before, found = _text(found), _look(matrix, results)
            if console.is_terminal:
                drawn.update(Text(_text(found)), refresh=True)
            elif _text(found) != before:
                typer.echo(before)
        drawn.update(Text(_text(found)), refresh=True)


def _text(found: "Standing") -> str:
    """Counts first, then a line for each job that runs or failed."""
    from bench.cli.job_name import name

    counts = [f"{count} {status}" for status, count in sorted(found.counts.items())]
    lines = [", ".join(counts) or "no cells"]
    lines += [f"running  {name(one.job)}: {_far(one)}" for one in found.running]
    lines += [f"failed   {name(job)}: {reason}" for job, reason in found.failed]
    if found.others:
        lines.append(f"and {found.others} jobs run in this folder that are none of these")
    if found.undecided:
        lines.append(f"and the controls of {found.undecided} ensembles, which are chosen once their members are done")
    return "\n".join([*lines, *_left(found)])


def _far(one: "Running") -> str:
    epochs = f"epoch {one.lease.epochs} of {one.lease.of}, " if one.lease.of else ""
    silent = f"; no sign of life for {_duration(one.silent)}" if one.silent else ""
    return f"{epochs}for {_duration(one.seconds)} on {one.lease.said()}{silent}"


def _left(found: "Standing") -> list[str]:
    if not (found.counts["new"] or found.running):
        return []
    if found.seconds is None:
        return ["time left: unknown until a job of each dataset and backbone has ended"]
    at_a_time = f"{len(found.running)} jobs at a time" if len(found.running) > 1 else "one job at a time"
    idle = "" if found.running or found.others else "; nothing runs now"
    return [f"time left: about {_duration(found.seconds)} with {at_a_time}{idle}"]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _values(found: "Standing") -> dict[str, Any]:
    reasons = {job.key: reason for job, reason in found.failed}
    return {
        "counts": dict(found.counts),
        "cells": [
            {"key": key, "status": status} | ({"reason": reasons[key]} if key in reasons else {})
            for key, status in found.statuses.items()
        ],
        "running": [
            {
                "key": one.job.key,
                **{name: getattr(one.lease, name) for name in ("host", "pid", "epochs", "of")},
                "started": one.lease.started.isoformat(),
                "renewed": one.lease.renewed.isoformat(),
            }
            for one in found.running
        ],
        "others": found.others,
        "controls_undecided": found.undecided,
        "seconds_left": found.seconds,
    }
