"""What may run now: a model ensemble once its members ended, controls once what they are chosen by has ended."""

from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from bench.analysis.controls import chosen, measured, needs, trained
from bench.execute.event import Event
from bench.execute.plan import without_result
from bench.matrix.job import Job
from bench.store import statuses

__all__ = ["Queue"]


class Queue:
    """The jobs of a matrix that have no result yet, and its controls as soon as they can be chosen."""

    def __init__(
        self, jobs: Sequence[Job], rows: pd.DataFrame, read: Callable[[str], pd.DataFrame], *, choose: bool
    ) -> None:
        """Read what is stored.

        Args:
            jobs: all of a matrix.
            rows: stored ones, as `store.load` gives them.
            read: gives the row of a job that has ended since, by its key.
            choose: whether ensembles are held against controls.
        """
        self.jobs = jobs
        self.stored = statuses(rows)
        self.read = read
        self.waiting: dict[str, Job] = {}
        self.open: set[str] = set()
        """Keys of jobs that have not ended."""
        self.known = {job.key for job in jobs}
        self.cells = measured(rows)
        self.trained = trained(jobs)
        ensembles = [job for job in jobs if choose and job.objective.members]
        self.undecided = {job.key: (job, needs(job, self.trained)) for job in ensembles}

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
            self.cells |= measured(self.read(job.key))
        yield from self._decide()

    def _admit(self, jobs: Sequence[Job]) -> Iterator[Event]:
        todo = {job.key: job for job in without_result(jobs, self.stored)}
        first = {key: job for key, job in todo.items() if job.members or job.control}
        self.waiting = first | self.waiting | todo
        self.open |= todo.keys()
        for job in jobs:
            yield Event("planned" if job.key in todo else "stored", job)

    def _decide(self) -> Iterator[Event]:
        for key in [key for key, (_, others) in self.undecided.items() if self.open.isdisjoint(others)]:
            job, _ = self.undecided.pop(key)
            wanted = {control.key: control for control in chosen(job, self.trained, self.cells)}
            new = [control for key, control in wanted.items() if key not in self.known]
            self.known |= wanted.keys()
            yield from self._admit(new)
