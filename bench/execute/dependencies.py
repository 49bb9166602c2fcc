"""What may run now: a model ensemble once its members ended, controls once what they are chosen by has ended.

Where a rule chooses the seeds, the jobs of its next look once those of the look before have ended; then the controls.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple
from warnings import warn

import pandas as pd

from bench.analysis.controls import chosen, measured, needs, trained
from bench.execute.cells_to_run import Share
from bench.execute.event import Event
from bench.execute.plan import without_embeddings, without_result
from bench.execute.seeds_by_look import Stage
from bench.matrix.job import Job
from bench.store import statuses

__all__ = ["Queue", "StoredJobs"]


class StoredJobs(NamedTuple):
    """What a folder of results holds."""

    rows: pd.DataFrame
    """As `store.load` gives them."""
    read: Callable[[str], pd.DataFrame]
    """Gives the row of a job that has ended since, by its key."""
    has_embeddings: Callable[[str], bool] = lambda _key: True
    """Whether the embeddings of a job that is done are still there, by its key."""


class Queue:
    """The jobs of a matrix that have no result yet, and its controls as soon as they can be chosen."""

    def __init__(
        self,
        jobs: Sequence[Job],
        stored: StoredJobs,
        *,
        choose: bool,
        looks: Sequence[Iterator[Stage]] = (),
        share: Share = Share(),  # noqa: B008
    ) -> None:
        """Read what is stored.

        Args:
            jobs: all of a matrix, but for those that a rule asks for.
            stored: what there is of them already.
            choose: whether ensembles are held against controls.
            looks: of each board the `stages` of a rule that chooses its seeds.
            share: which of the jobs are run.
        """
        self.jobs: list[Job] = []
        self.first = jobs
        self.stored = statuses(stored.rows)
        self.read = stored.read
        self.choose = choose
        self.share = share
        self.has_embeddings = stored.has_embeddings
        self.again: set[str] = set()
        """Keys of finished jobs that are trained again for their embeddings."""
        self.others: dict[str, Job] = {}
        """Jobs of other shards that have not ended."""
        self.later: dict[str, Job] = {}
        """Model ensembles with members among these, of which nothing is told yet."""
        self.waiting: dict[str, Job] = {}
        self.open: set[str] = set()
        """Keys of jobs that have not ended."""
        self.known: set[str] = set()
        self.cells = measured(stored.rows)
        self.looks = [(stages, Stage((), None)) for stages in looks]
        """With what has to end before the next stage."""
        self.undecided: dict[str, tuple[Job, frozenset[str]]] = {}
        """Ensembles whose controls are not chosen yet, with the keys of what they are chosen by."""
        self.concerned: defaultdict[str, list[str]] = defaultdict(list)
        """By the key of a job, the ensembles whose controls are chosen by it."""

    def plan(self) -> Iterator[Event]:
        """Tell of every job whether it will run; and of the controls that can be chosen already."""
        yield from self._admit(self.first)
        if not self.looks:
            self._list_ensembles()
        yield from self._go_on(list(self.undecided))

    def ready(self) -> Iterator[Job]:
        """The jobs that may start; what had to wait for others comes first."""
        for job in self.waiting.values():
            if self.open.isdisjoint(job.member_keys):
                yield job

    def start(self, job: Job) -> None:
        """A job of those that are ready starts, or has been run elsewhere."""
        del self.waiting[job.key]

    def end(self, job: Job) -> Iterator[Event]:
        """A job has ended: tell of what is decided by it, and of the jobs that follow."""
        self.open.discard(job.key)
        if self.undecided or (self.looks and self.choose):
            self.cells |= measured(self.read(job.key))
        yield from self._go_on(self.concerned.get(job.key, ()))

    def end_other(self, key: str) -> Iterator[Event]:
        """The same of a job of another shard."""
        yield from self.end(self.others.pop(key))

    def left_to_others(self) -> str | None:
        """What waits for other shards, as a sentence; None where nothing does."""
        if not self.others or not (self.later or self.undecided):
            return None
        several = f"{len(self.later)} model ensembles" if len(self.later) != 1 else "1 model ensemble"
        return (
            f"{several} and the controls of {len(self.undecided)} ensembles wait for cells of other shards: the shard "
            "that ends last runs them, or the same command without --shard"
        )

    def _admit(self, jobs: Sequence[Job]) -> Iterator[Event]:
        new = [job for job in jobs if job.key not in self.known]
        self.known |= {job.key for job in new}
        self.jobs += [job for job in new if not job.control]
        own = self.share.own(new)
        keys = {job.key for job in own}
        self.others |= {job.key: job for job in without_result(new, self.stored) if job.key not in keys}
        self.open |= self.others.keys()
        yield from self._plan(own)

    def _plan(self, jobs: Sequence[Job]) -> Iterator[Event]:
        later = {job.key: job for job in without_result(jobs, self.stored) if self._needs_others(job)}
        self.later |= later
        todo = {job.key: job for job in self.share.due(jobs, self.stored) if job.key not in later}
        again = self._again(list(todo.values()))
        todo = again | todo
        first = {key: job for key, job in todo.items() if job.members or job.control}
        self.waiting = first | self.waiting | todo
        self.open |= todo.keys() | later.keys()
        for job in ({job.key: job for job in jobs} | again).values():
            if job.key in todo or job.key in self.stored:
                yield Event("planned" if job.key in todo else "stored", job)

    def _needs_others(self, job: Job) -> bool:
        return not self.others.keys().isdisjoint(job.member_keys)

    def _again(self, jobs: Sequence[Job]) -> dict[str, Job]:
        """Finished members of these that are trained again, of which nothing is said yet."""
        members = without_embeddings(jobs, self.stored, self.has_embeddings)
        found = {key: one for key, one in members.items() if key not in self.again}
        self.again |= found.keys()
        if found:
            several = f"{len(found)} finished jobs have" if len(found) > 1 else "a finished job has"
            warn(
                f"{next(iter(found))}: {several} no embeddings any more, and a model ensemble without a result needs "
                "them: trained again",
                stacklevel=2,
            )
        return found

    def _go_on(self, ensembles: Sequence[str]) -> Iterator[Event]:
        """What can be decided now: the next looks, and the controls of ensembles that nothing is missing for."""
        while ready := [look for look in self.looks if self.open.isdisjoint(job.key for job in look[1].jobs)]:
            for look in ready:
                yield from self._look(look)
            if not self.looks:
                self._list_ensembles()
                ensembles = list(self.undecided)
        free = [job for job in self.later.values() if not self._needs_others(job)]
        for job in free:
            del self.later[job.key]
        self.open -= {job.key for job in free}
        yield from self._plan(free)
        yield from self._choose_controls(ensembles)

    def _look(self, look: tuple[Iterator[Stage], Stage]) -> Iterator[Event]:
        """The next stage of one board."""
        at, (stages, before) = self.looks.index(look), look
        stage = next(stages, None)
        if stage is None:
            del self.looks[at]
            return
        self.looks[at] = (stages, stage)
        if stage.decision:
            yield Event("decided", (stage.jobs or before.jobs)[0], decision=stage.decision)
        yield from self._admit(stage.jobs)

    def _list_ensembles(self) -> None:
        """Whose controls are to be chosen: among the jobs that ran, when no more are to come."""
        self.trained = trained(self.jobs)
        ensembles = [job for job in self.jobs if self.choose and job.objective.members]
        self.undecided = {job.key: (job, needs(job, self.trained)) for job in ensembles}
        for key, (_, others) in self.undecided.items():
            for other in others:
                self.concerned[other].append(key)

    def _choose_controls(self, ensembles: Sequence[str]) -> Iterator[Event]:
        waiting = [key for key in ensembles if key in self.undecided]
        for key in [key for key in waiting if self.open.isdisjoint(self.undecided[key][1])]:
            job, _ = self.undecided.pop(key)
            yield from self._admit(chosen(job, self.trained, self.cells))
