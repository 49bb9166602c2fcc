"""How a run is shown while it goes on: a bar on a terminal, plain lines elsewhere; always on stderr."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from bench.execute.pool import Event
from bench.matrix.job import TRAINED, Job

__all__ = ["show"]

EVALUATION = 1
"""What evaluating a job counts for in the bar, in epochs."""


def show(events: Iterable[Event], jobs: list[Job], console: Console) -> Iterator[Event]:
    """Draw the events as they come, and hand them on."""
    with _bar(jobs, console) as (progress, matrix, lines):
        seen: dict[str, int] = {}
        ended = 0
        for event in events:
            epochs = _epochs(event.job)
            done = epochs + EVALUATION if event.status else event.epochs
            progress.advance(matrix, done - seen.get(event.job.key, 0))
            seen[event.job.key] = done
            if event.status is None:
                if event.job.key not in lines:
                    lines[event.job.key] = progress.add_task(_name(event.job), total=epochs)
                progress.update(lines[event.job.key], completed=event.epochs)
            else:
                ended += 1
                if event.job.key in lines:
                    progress.remove_task(lines.pop(event.job.key))
                line = f"[{ended}/{len(jobs)}] {_name(event.job)}: {_ending(event)}"
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            yield event


@contextmanager
def _bar(jobs: list[Job], console: Console) -> Iterator[tuple[Progress, TaskID, dict[str, TaskID]]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        total = sum(_epochs(job) + EVALUATION for job in jobs)
        yield progress, progress.add_task("matrix", total=total), {}


def _epochs(job: Job) -> int:
    return job.recipe.total_epochs if job.kind in TRAINED else 0


def _name(job: Job) -> str:
    return f"{job.dataset.label} {job.backbone.label} {job.objective.label} seed {job.seed}"


def _ending(event: Event) -> str:
    return f"{event.status}; {event.reason}" if event.reason else str(event.status)
