"""Several runs of one folder of results: each job is one run's, and what another run has ended is taken as it is."""

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from warnings import warn

from bench.execute.dependencies import Queue
from bench.execute.event import ENDINGS, Event
from bench.matrix.job import TRAINED, Job
from bench.store.job_folders import StoreError
from bench.store.leases import LEASE, Leases
from bench.store.row_cache import stamp

__all__ = ["POLL", "Turns"]

POLL = 1.0
"""Seconds between two looks at other runs, while nothing runs here."""


class Turns:
    """Gives the jobs of a queue to this run as far as no other run of the same folder has them."""

    def __init__(self, queue: Queue, results: Path, *, most: int | None = None) -> None:
        """Begin with the folder as it is.

        Args:
            queue: of jobs.
            results: folder of results, which is there.
            most: failures after which no more jobs are started.
        """
        self.queue, self.results, self.most = queue, results, most
        self.leases = Leases(results)
        self.before: dict[str, str | None] = {}
        """Of jobs that are run again, the stamp of the row that there was."""
        self.told: deque[Event] = deque()
        self.announced: set[str] = set()
        self.failures = 0
        self.folder = os.open(results, os.O_RDONLY | os.O_DIRECTORY)
        """Open, so that no other folder can get its number."""

    def take(self) -> Job | Event | None:
        """The next job that may start here, or news of one that another run has; None while there is nothing.

        Where nothing runs here and other runs have all that is left, this takes a second.

        Raises:
            StoreError: the folder of results has gone, or cannot be written.
        """
        if self.told or self._enough():
            return self.told.popleft() if self.told else None
        self._see_folder()
        elsewhere: list[Job] = []
        for job in self.queue.ready():
            if self.leases.claim(job.key, of=job.recipe.total_epochs if job.kind in TRAINED else 0):
                self.queue.start(job)
                return self._ended(job) or job
            elsewhere.append(job)
        self.told += self.others()
        self.told += [self._news(job) for job in elsewhere if job.key not in self.announced]
        self.announced |= {job.key for job in elsewhere}
        if self.told:
            return self.told.popleft()
        if elsewhere and not self.leases.held:
            time.sleep(POLL)
            return self._news(elsewhere[0])
        return None

    def see(self, event: Event) -> None:
        """Take note of what happened to a job.

        Raises:
            StoreError: the folder of results has gone.
        """
        key = event.job.key
        if event.kind == "planned" and key in self.queue.stored:
            self.before[key] = stamp(self.results / key)
        elif event.kind == "epoch":
            self.leases.progress(key, event.epochs)
        elif event.kind in ENDINGS:
            self._see_end(event)
        if event.kind not in ("planned", "stored"):
            self._see_folder()

    def seen(self, events: Iterable[Event]) -> Iterator[Event]:
        """The same events, each noted before it is told."""
        for event in events:
            self.see(event)
            yield event

    def others(self) -> list[Event]:
        """What follows from jobs of other shards that have ended since this was last asked."""
        if not self.queue.others:
            return []
        names = set(os.listdir(self.results))
        over = [key for key in self.queue.others if key in names and f"{LEASE}{key}" not in names]
        return [event for key in over if stamp(self.results / key) for event in self.queue.end_other(key)]

    def close(self) -> None:
        """Give all jobs back that have not ended."""
        self.leases.close()
        os.close(self.folder)

    def _enough(self) -> bool:
        return self.most is not None and self.failures >= self.most

    def _see_end(self, event: Event) -> None:
        own = event.job.key in self.leases.held
        self.leases.release(event.job.key)
        if own and event.kind == "failed":
            self.failures += 1
            if self.failures == self.most:
                jobs = "1 job" if self.most == 1 else f"{self.most} jobs"
                warn(f"{jobs} failed, as many as were allowed: no more are started", stacklevel=3)

    def _ended(self, job: Job) -> Event | None:
        """How another run has ended a job since this one was planned."""
        now = stamp(self.results / job.key)
        if now is None or now == self.before.get(job.key):
            return None
        try:
            row = self.queue.read(job.key).iloc[0]
        except (StoreError, FileNotFoundError):  # damaged, or taken away again: it is run here
            return None
        self.leases.release(job.key)
        return Event(row["status"], job, reason=row["reason"] if isinstance(row["reason"], str) else None)

    def _news(self, job: Job) -> Event:
        lease = self.leases.other(job.key)
        if lease is None:
            return Event("elsewhere", job, reason="another run")
        return Event("elsewhere", job, lease.epochs, lease.said(), of=lease.of)

    def _see_folder(self) -> None:
        try:
            gone = not os.path.samestat(os.stat(self.results), os.fstat(self.folder))
        except FileNotFoundError:
            gone = True
        if gone:
            raise StoreError(
                f"{self.results}: the folder was removed or replaced while the run went on, with the results in it; "
                "give the same command again to begin anew"
            )
