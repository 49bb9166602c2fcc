"""How a run is shown while it goes on: a bar on a terminal, plain lines elsewhere; always on stderr."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from bench.cli.job_name import name
from bench.cli.step_bar import drawn, plain_line
from bench.execute.event import Event
from bench.matrix.job import TRAINED, Job

__all__ = ["Display", "display"]

EVALUATION = 1
"""What evaluating a job counts for in the bar, in epochs."""
OTHERS = 55
"""Letters of a line of a narrow terminal that the bar, the counts and the times need."""


@contextmanager
def display(console: Console) -> Iterator["Display"]:
    """What draws the events that it is shown."""
    columns = (
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
    )
    with drawn(console, *columns) as bar:
        shown = Display(bar)
        yield shown
        shown.tell_plan()


class Display:
    """A bar of the whole matrix, which grows with the jobs that are planned, and one for each job that runs."""

    def __init__(self, bar: Progress) -> None:
        self.bar = bar
        self.matrix = bar.add_task("matrix", total=0)
        self.lines: dict[str, TaskID] = {}
        self.done: dict[str, int] = {}
        """Epochs drawn so far, by key."""
        self.elsewhere: set[str] = set()
        """Keys of jobs that are known to be another run's."""
        self.embedded: set[str] = set()
        """Datasets with trunks whose pictures are known to go through them."""
        self.news: Counter[tuple[str, str]] = Counter()
        self.planned = self.total = self.ended = 0
        self.stopping = False

    def show(self, event: Event) -> None:
        """Draw one event."""
        if event.kind in {"stored", "planned"}:
            self._plan(event)
            return
        self.tell_plan()
        draw = {
            "comparing": self._tell_comparison,
            "decided": self._tell_decision,
            "elsewhere": self._tell_elsewhere,
            "remark": self._tell_remark,
            "started": self._start,
            "embedding": self._embed,
            "epoch": self._advance,
            "checkpoint": lambda _event: None,
            "stopping": self._stop,
            "stopped": self._stop,
        }
        draw.get(event.kind, self._end)(event)

    def tell_plan(self) -> None:
        """Say what has been planned since this was last said."""
        for what in dict.fromkeys(what for what, _ in self.news):
            stored, planned = self.news[what, "stored"], self.news[what, "planned"]
            self._print(f"{stored + planned} {what}, {stored} done before")
        self.news.clear()

    def _tell_comparison(self, event: Event) -> None:
        self._print(f"{event.job.dataset.label}: comparing test photos with training photos")

    def _tell_remark(self, event: Event) -> None:
        self._print(f"bench: {event.reason}")

    def _start(self, event: Event) -> None:
        self.lines[event.job.key] = self.bar.add_task(self._short(event.job), total=_epochs(event.job))

    def _advance(self, event: Event) -> None:
        line = self.lines[event.job.key]
        self.bar.update(line, description=self._short(event.job), completed=event.epochs)
        self.bar.advance(self.matrix, event.epochs - self.done.get(event.job.key, 0))
        self.done[event.job.key] = event.epochs

    def _tell_decision(self, event: Event) -> None:
        for sentence in event.decision.sentences if event.decision else ():
            self._print(f"{event.job.dataset.label} {event.job.backbone.label}: {sentence}")

    def _stop(self, event: Event) -> None:
        """Say once, however many jobs run, what is waited for."""
        if event.kind == "stopped":
            self.bar.remove_task(self.lines.pop(event.job.key))
        elif not self.stopping:
            self.stopping = True
            self._print("stopping after the current step, to write checkpoints; once more (Ctrl-C) stops at once")

    def _tell_elsewhere(self, event: Event) -> None:
        if event.job.key not in self.elsewhere:
            self.elsewhere.add(event.job.key)
            self._print(f"{name(event.job)}: another run has it ({event.reason})")

    def _embed(self, event: Event) -> None:
        """Once a line for each trunk and dataset, and on a terminal how far it is."""
        place = f"{event.job.dataset.label} {event.job.backbone.label}"
        if place not in self.embedded:
            self.embedded.add(place)
            self._print(f"{place}: {event.of:,} pictures go through the frozen trunk, once for all jobs")
        done = f"{event.epochs:,} of {event.of:,} pictures"
        self.bar.update(self.lines[event.job.key], description=f"{self._short(event.job)}: {done}")

    def _plan(self, event: Event) -> None:
        self.news["controls" if event.job.control else "cells", event.kind] += 1
        if event.kind == "planned":
            self.planned += 1
            self.total += _epochs(event.job) + EVALUATION
            self.bar.update(self.matrix, total=self.total)

    def _end(self, event: Event) -> None:
        self.ended += 1
        if (line := self.lines.pop(event.job.key, None)) is not None:  # none of a job of another run
            self.bar.remove_task(line)
        self.bar.advance(self.matrix, _epochs(event.job) + EVALUATION - self.done.pop(event.job.key, 0))
        ending = f"{event.kind}; {event.reason}" if event.reason else event.kind
        self._print(f"[{self.ended}/{self.planned}] {name(event.job)}: {ending}")

    def _short(self, job: Job) -> str:
        """As much of the end of its name as leaves room for the bar; the loss and the seed are there."""
        text, room = name(job), max(20, self.bar.console.width - OTHERS)
        return text if len(text) <= room else f"…{text[1 - room :]}"

    def _print(self, line: str) -> None:
        plain_line(self.bar.console, line)


def _epochs(job: Job) -> int:
    return job.recipe.total_epochs if job.kind in TRAINED else 0
