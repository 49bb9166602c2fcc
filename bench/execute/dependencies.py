"""What may run now: a model ensemble once its members ended, controls once what they are chosen by has ended."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import pandas as pd

from bench.analysis.controls import controls, needs
from bench.execute.event import Event
from bench.execute.plan import missing
from bench.matrix.job import Job
from bench.store import statuses

__all__ = ["Queue"]

Row = dict[Hashable, Any]


class Queue:
    """The jobs of a matrix that have no result yet, and its controls as soon as they can be chosen."""

    def __init__(self, jobs: Sequence[Job], rows: pd.DataFrame, read: Callable[[str], Row], *, choose: bool) -> None:
        """Read what is stored.

        Args:
            jobs: all of a matrix.
            rows: stored ones, as `store.load` gives them.
            read: the stored row of a job that has ended since, by its key.
            choose: whether ensembles are held against controls.
        """
        self.jobs = jobs
        self.stored = statuses(rows)
        self.read = read
        self.waiting: dict[str, Job] = {}
        self.open: set[str] = set()
        """Keys of jobs that have not ended."""
        ensembles = [job for job in jobs if choose and job.objective.members]
        self.undecided = {job.key: (job, needs(job, jobs)) for job in ensembles}
        self.known = {job.key for job in jobs}
        wanted = {*self.known, *(key for _, others in self.undecided.values() for key in others)}
        self.rows = {row["key"]: row for row in rows[rows["key"].isin(wanted)].to_dict("records")} if choose else {}

    def plan(self) -> Iterator[Event]:
        """Tell of every job whether it will run; and of the controls that can be chosen already."""
        yield from self._admit(self.jobs)
        yield from self._decide()

    def take(self) -> Job | None:
        """The next job that may start; what had to wait for others goes first."""
        for key, job in self.waiting.items():
            if self.open.isdisjoint(member.key for member in job.members):
                return self.waiting.pop(key)
        return None

    def end(self, job: Job) -> Iterator[Event]:
        """A job has ended: tell of the controls that can now be chosen."""
        self.open.discard(job.key)
        if self.undecided:
            self.rows[job.key] = self.read(job.key)
        yield from self._decide()

    def _admit(self, jobs: Sequence[Job]) -> Iterator[Event]:
        todo = {job.key: job for job in missing(jobs, self.stored)}
        first = {key: job for key, job in todo.items() if job.members or job.control}
        self.waiting = first | self.waiting | todo
        self.open |= todo.keys()
        for job in jobs:
            yield Event("planned" if job.key in todo else "stored", job)

    def _decide(self) -> Iterator[Event]:
        ready = [key for key, (_, others) in self.undecided.items() if self.open.isdisjoint(others)]
        for key in ready:
            _, others = self.undecided.pop(key)
            # Only what this ensemble needs is shown, so that no other one is decided before its time.
            rows = pd.DataFrame([self.rows[other] for other in others if other in self.rows])
            near = [job for job in self.jobs if job.key in others]
            new = [job for job in controls(near, rows) if job.key not in self.known] if len(rows) else []
            self.known |= {job.key for job in new}
            yield from self._admit(new)
