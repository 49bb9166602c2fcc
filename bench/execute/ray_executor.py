"""The jobs that are ready, on the nodes of a Ray cluster: on each as many actors as fit, one job each at a time.

An actor has a worker process of `pool` beside it, so a job finds the same process on every node as on one machine, and
a job that kills its process is told as there. Results go to one folder that all nodes see, or to one address by way of
a folder on each node. A node that is lost is no job's fault: its jobs go on from their checkpoints on another one.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from typing import Any
from warnings import warn

from bench import store
from bench.execute.conditions import Conditions
from bench.execute.event import ENDINGS, Event
from bench.execute.pool import PATIENCE
from bench.execute.ray_cluster import TICK, Cluster, connected, see_fit, share
from bench.execute.ray_node import Host
from bench.execute.stop import Stop, Stopped
from bench.execute.worker import News, Setup
from bench.matrix.job import ConfigError, Job
from bench.store.mirror import mirror_of
from bench.store.row import failure

__all__ = ["execute"]

TRIES = 3
"""How often a job is continued elsewhere before the loss of its node is taken for its failure."""
LOOK = 2.0
"""Seconds between two looks at which nodes there are."""


def execute(
    take: Callable[[], Job | Event | None], jobs: Sequence[Job], conditions: Conditions
) -> Generator[Event, None, None]:
    """Run and store jobs, and tell how it goes, as `pool.execute` does.

    A job whose node is lost is told with a `remark`, and goes on elsewhere without having `started` again. While no
    node is there, jobs wait for one.

    Args:
        take: as there.
        jobs: as there.
        conditions: under which they run. Its places are the cluster.

    Raises:
        Stopped: it was asked to stop, and has.
        ConfigError: there is no such cluster, a node does not see what it has to, or has other versions, no node is
            large enough; and as `pool.execute`.
        OtherDataError: a node has other data than this machine; finished jobs are kept.
        StoreError: results cannot be written any more; finished jobs are kept.
    """
    stop, cluster, results, data = conditions.stop or Stop(), conditions.places, conditions.results, conditions.data
    mirror = mirror_of(results)
    setup = conditions.setup("cpu")._replace(
        results=results.absolute(), data=data and data.absolute(), address=mirror.address.text if mirror else None
    )
    with connected(cluster.address or "auto") as ray, stop.listening(), _Crew(ray, cluster, setup, stop) as crew:
        crew.refuse(jobs)
        while not stop.asked:
            crew.fill(len(jobs))
            while (host := crew.idle()) and not stop.asked and (job := crew.next(take)) is not None:
                if isinstance(job, Event):
                    yield job
                    continue
                yield from crew.start(host, job)
            if crew.over and not stop.asked:
                return
            yield from crew.news()
        yield from crew.stopped()
    raise Stopped


class _Seat:
    """An actor as the driver sees it."""

    job: Job | None = None
    epochs = 0

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.answer: Any = actor.ready.remote()
        """What is waited for; None of an actor that is idle."""
        self.began = False

    @property
    def current(self) -> Job:
        assert self.job is not None, "an actor without a job has no news"
        return self.job


class _Crew:
    """The actors of one run. Leaving it ends them."""

    def __init__(self, ray: Any, cluster: Cluster, setup: Setup, stop: Stop) -> None:
        self.ray, self.cluster, self.stop = ray, cluster, stop
        self.most = math.inf if cluster.most is None else cluster.most
        self.seats: list[_Seat] = []
        self.back: deque[tuple[Job, int]] = deque()
        """Jobs that have lost their node, with the epochs that were told."""
        self.lost: Counter[str] = Counter()
        self.stillborn = 0
        """Actors that died one after the other before they were ready."""
        self.over = self.stopping = False
        self.known: set[str] = set()
        """Nodes that see what they have to."""
        self.room, self.looked = 0, -math.inf
        self.own = ray.get_runtime_context().get_node_id()
        self.share = share(cluster, self._nodes(), threads=setup.threads)
        self.mirror = mirror_of(setup.results)
        device = "cuda:0" if self.share.gpus else "cpu"
        self.setup = setup._replace(device=device, share=self.share.gpus or 1.0)

    def __enter__(self) -> "_Crew":
        return self

    def __exit__(self, *_: object) -> None:
        for seat in self.seats:
            self._kill(seat)

    def refuse(self, jobs: Sequence[Job]) -> None:
        """Build everything once on a node, before anything trains."""
        while not (self.stop.asked or self.idle()):
            self.fill(len(jobs))
            list(self.news())
        if (seat := self.idle()) is not None and not self.stop.asked:
            seat.answer = seat.actor.refuse.remote(list(jobs))
            while not (self.stop.asked or self.ray.wait([seat.answer], timeout=TICK)[0]):
                pass
        if seat is None or self.stop.asked:
            raise Stopped
        try:
            outlook, seat.answer = self.ray.get(seat.answer), None
        except self.ray.exceptions.RayError:
            list(self._lose(seat))  # whichever job ends an actor will do so again, and have its row
            return
        if outlook.refused:
            raise ConfigError("\n".join(outlook.refused))
        for sentence in outlook.doubtful:
            warn(sentence, stacklevel=3)

    def fill(self, wanted: int) -> None:
        """As many actors as the nodes have room for, and jobs may need."""
        if time.monotonic() - self.looked > LOOK:
            nodes = self._nodes()
            new = [node for node in nodes if node["NodeID"] not in self.known and self.share.fits(node)]
            see_fit(self.ray, new, self.setup, any_versions=self.cluster.any_versions, stop=self.stop)
            self.known |= {node["NodeID"] for node in new}
            self.room, self.looked = sum(self.share.fits(node) for node in nodes), time.monotonic()
        busy = sum(seat.job is not None for seat in self.seats)
        while len(self.seats) < min(self.room, self.most, max(wanted, busy + 1)):
            remote = self.ray.remote(num_cpus=self.share.cpus, num_gpus=self.share.gpus, max_restarts=0)(Host)
            self.seats.append(_Seat(remote.remote(self.setup)))

    def idle(self) -> _Seat | None:
        """An actor that waits for a job."""
        return next((seat for seat in self.seats if seat.answer is None), None)

    def next(self, take: Callable[[], Job | Event | None]) -> Job | Event | None:
        """The job to start now; where there is none and none runs, all is over."""
        if self.back:
            return self.back[0][0]
        job = take()
        self.over = job is None and all(seat.job is None for seat in self.seats)
        return job

    def start(self, seat: _Seat, job: Job) -> Iterator[Event]:
        """Give an actor a job, and tell of it unless it goes on."""
        goes_on = bool(self.back) and self.back[0][0] is job
        seat.job, seat.epochs = job, self.back.popleft()[1] if goes_on else 0
        seat.answer = seat.actor.run.remote(job)
        if not goes_on:
            yield Event("started", job)

    def news(self) -> Iterator[Event]:
        """Wait a little, and tell what the actors have said."""
        answers = {seat.answer: seat for seat in self.seats if seat.answer is not None}
        if not answers:
            time.sleep(TICK)
        elif self.ray.wait(list(answers), timeout=TICK)[0]:
            for answer in self.ray.wait(list(answers), num_returns=len(answers), timeout=0)[0]:
                yield from self._heard(answers[answer])

    def stopped(self) -> Iterator[Event]:
        """Ask jobs to stop at their next step, and tell how they do."""
        self.stopping = True
        busy = [seat for seat in self.seats if seat.job is not None]
        for seat in busy:
            seat.actor.stop.remote()
        for seat in busy:
            yield Event("stopping", seat.current)
        end = time.monotonic() + PATIENCE
        while any(seat.job for seat in self.seats) and time.monotonic() < end:
            yield from self.news()
        left = [(seat.job, seat.epochs) for seat in self.seats if seat.job is not None]
        for job, epochs in (*self.back, *left):
            yield Event("stopped", job, epochs)

    def _heard(self, seat: _Seat) -> Iterator[Event]:
        try:
            said: list[News | Exception] | None = self.ray.get(seat.answer)
        except self.ray.exceptions.RayTaskError:
            raise
        except self.ray.exceptions.RayError as error:
            yield from self._lose(seat, error)
            return
        self.stillborn, seat.began, seat.answer = 0, True, None
        for news in said or ():
            if isinstance(news, Exception):
                raise news
            yield from self._told(seat, news)
        if seat.job is not None:
            seat.answer = seat.actor.news.remote()

    def _told(self, seat: _Seat, news: News) -> Iterator[Event]:
        if news.kind == "stopped" and not self.stopping:  # its node is about to be taken away
            yield from self._lose(seat)
            return
        if self.mirror and news.kind in ENDINGS:
            self.mirror.fetch([seat.current.key])
        yield Event(news.kind, seat.current, news.epochs, news.reason, of=news.of)
        if news.kind == "epoch":
            seat.epochs = news.epochs
        elif news.kind not in {"embedding", "remark", "checkpoint"}:
            seat.job = None

    def _lose(self, seat: _Seat, error: Exception | None = None) -> Iterator[Event]:
        """An actor is no more: its job is put back, or has failed if that happens again and again."""
        self.looked = -math.inf
        self.seats.remove(seat)
        self._kill(seat)
        job, seat.job = seat.job, None
        if job is None:
            self._see_start(seat, error)
            return
        self.lost[job.key] += 1
        if self.lost[job.key] <= TRIES:
            self.back.append((job, seat.epochs))
            why = f"{job.key}: its node was lost; the job goes on from its last checkpoint on another one"
            yield Event("remark", job, seat.epochs, why)
            return
        reason = f"its node was lost {self.lost[job.key]} times; the same command runs it again"
        store.write(self.setup.results, failure(job, "failed", reason))
        if self.mirror:
            self.mirror.send(job.key)
        yield Event("failed", job, seat.epochs, reason)

    def _see_start(self, seat: _Seat, error: Exception | None) -> None:
        """See that not all actors die before they are ready.

        Raises:
            ConfigError: they do.
        """
        self.stillborn += not seat.began
        if self.stillborn > TRIES + self.room:
            why = str(error).strip().partition("\n")[0]
            raise ConfigError(f"no worker can be started on the cluster ({why}): see the logs of Ray") from error

    def _kill(self, seat: _Seat) -> None:
        with suppress(Exception):  # it is gone already, or the cluster is
            self.ray.kill(seat.actor)

    def _nodes(self) -> list[dict[str, Any]]:
        """Those that are there. Without its own one, a driver's actors are ended, and no new one begins."""
        alive = [node for node in self.ray.nodes() if node["Alive"]]
        if self.own not in {node["NodeID"] for node in alive}:
            raise ConfigError("the node of this run has left the cluster: give the same command again, on another one")
        return alive
