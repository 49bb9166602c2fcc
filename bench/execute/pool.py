"""The jobs that are ready, on the devices there are: warm worker processes, one job each at a time.

Every worker has a socket of its own, so a worker that dies takes its own job with it and nothing else: no lock and no
queue is shared.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from time import monotonic
from typing import Any
from warnings import warn

from bench import store
from bench.execute.conditions import Conditions
from bench.execute.event import ENDINGS, Event
from bench.execute.stop import Stop, Stopped
from bench.execute.worker import News, Outlook, Setup
from bench.matrix.job import ConfigError, Job
from bench.store.mirror import mirror_of
from bench.store.row import failure

__all__ = ["PATIENCE", "Worker", "execute", "refuse"]

WORKER = "import sys; from bench.execute.worker import work; work(int(sys.argv[1]))"
"""What a worker process runs. Unlike multiprocessing's it never imports the caller's script, which needs no guard."""

TIED = "import ctypes; ctypes.CDLL(None).prctl(1, 9); "
"""Run before it on Linux: SIGKILL when the thread that started it ends. The end of the socket tells a worker the same,
but not one that is deep in a long call of a library, or still imports. (1 is PR_SET_PDEATHSIG.)"""

PATIENCE = 30.0
"""Seconds that workers have to write their checkpoints, once they are asked to stop."""

OURS = frozenset({signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
"""Signals that a terminal sends to all processes of a command, and that are the parent's to handle."""

LOOK = 2.0
"""Seconds after which a free place asks for a job again: another run may have left one."""

MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**32)}
"""Makes glibc keep freed memory: returning every activation to the system costs a third of a step on the processor."""


def execute(
    take: Callable[[], Job | Event | None], jobs: Sequence[Job], conditions: Conditions
) -> Generator[Event, None, None]:
    """Run and store jobs, and tell how it goes.

    This is all that an executor is: a function with these arguments that yields events. It asks for a job whenever a
    place is free, and again after every event that ends one; when there is none and nothing runs, it is over. Closing
    the generator ends the workers at once.

    Args:
        take: gives the next job that may start; None while there is none. Or news of a job of another run, to be told.
        jobs: what is known of the jobs to come. Each is built once, before anything trains.
        conditions: under which they run.

    Raises:
        Stopped: it was asked to stop, and has.
        ConfigError: a backbone or an objective cannot be built as asked, or a plugin not be imported; nothing was
            trained. Or a plugin has changed since, and a worker had to start anew; finished jobs are kept.
        OtherDataError: the data has changed since; finished jobs are kept.
        StoreError: results cannot be written any more; finished jobs are kept.
    """
    stop = conditions.stop or Stop()
    places = conditions.places
    workers = [Worker(conditions.setup(place, share=1 / places.count(place))) for place in places]
    with stop.listening(), _ended(workers):
        for worker in workers[: max(1, len(jobs))]:
            worker.start()  # all import while the first one checks
        for sentence in refuse(workers[0], jobs, stop):
            warn(sentence, stacklevel=2)
        while not stop.asked:
            idle = [worker for worker in workers if worker.job is None]
            while idle and not stop.asked and (job := take()) is not None:
                if isinstance(job, Event):
                    yield job
                    continue
                worker = idle.pop(0)
                worker.take(job)
                with suppress(OSError):  # one that has just died says so when it is asked for news
                    worker.socket.send(job)
                yield Event("started", job)
            if len(idle) == len(workers) and not stop.asked:
                return
            for worker in _with_news(workers, stop, LOOK if idle else None):
                yield worker.news()
        yield from _stopped(workers)
    raise Stopped


@contextmanager
def _ended(workers: Sequence["Worker"]) -> Iterator[None]:
    """Afterwards no worker runs: all are killed before any is waited for, so that nothing can come between."""
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.bury()


def _with_news(workers: Sequence["Worker"], stop: Stop | None, seconds: float | None) -> list["Worker"]:
    """Wait until a worker has something to say of its job, or for so many seconds; none if the run is to stop.

    A signal may have gone to the workers too: the end of one is judged only once all are asked to stop.
    """
    busy = [worker for worker in workers if worker.job is not None]
    sockets: list[Connection[Any, Any] | int] = [worker.socket for worker in busy]
    ready = wait([*sockets, stop.fileno()] if stop else sockets, seconds)
    return [] if stop and stop.asked else [worker for worker in busy if worker.socket in ready]


def _stopped(workers: Sequence["Worker"]) -> Iterator[Event]:
    """Ask workers to stop at their next step, and tell how they do; who calls this kills those that do not in time."""
    busy = [worker for worker in workers if worker.job is not None]
    for worker in busy:
        worker.ask_to_stop()
    for worker in busy:
        yield Event("stopping", worker.current)
    end = monotonic() + PATIENCE
    while any(worker.job for worker in busy) and (left := end - monotonic()) > 0:
        for worker in _with_news(busy, None, left):
            yield worker.news()
    for worker in [worker for worker in busy if worker.job is not None]:
        yield Event("stopped", worker.current, worker.epochs)


def refuse(worker: "Worker", jobs: Sequence[Job], stop: Stop) -> list[str]:
    """Build everything once in a worker, before anything trains; what is doubtful, one sentence each."""
    try:
        worker.socket.send(list(jobs))
        if worker.socket not in wait([worker.socket, stop.fileno()]):
            raise Stopped
        outlook: Outlook = worker.socket.recv()
        worker.began = True
    except (EOFError, OSError):
        return []  # whichever job ends a worker will do so again, and have its row
    if outlook.refused:
        raise ConfigError("\n".join(outlook.refused))
    return outlook.doubtful


class Worker:
    """One worker process that is started when needed, and again after it died."""

    socket: "Connection[Any, Any]"
    process: subprocess.Popen[bytes] | None = None
    job: Job | None = None
    epochs = 0
    began = False
    """Whether it has said anything since it was started."""
    told_to_stop = False

    def __init__(self, setup: Setup) -> None:
        self.setup, self.mirror = setup, mirror_of(setup.results)

    @property
    def current(self) -> Job:
        """Its job, which it has."""
        assert self.job is not None, "a worker without a job has no news"
        return self.job

    def take(self, job: Job) -> None:
        """Be ready for a job, in a new process if the last one has ended."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        if self.mirror:
            self.mirror.fetch_checkpoint(job.key)
            self.mirror.fetch_arrays(member.key for member in job.members)
        self.job = job

    def start(self) -> None:
        """A new process; it never sees Ctrl-C, which is the parent's to handle."""
        self.kill()
        self.bury()
        threads = str(self.setup.threads)  # set before torch is imported
        own = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        path = {"PYTHONPATH": os.pathsep.join(folder or os.getcwd() for folder in sys.path)}
        tied = sys.platform == "linux" and threading.current_thread() is threading.main_thread()
        self.began = False
        self.socket, theirs = Pipe()
        old = signal.pthread_sigmask(signal.SIG_BLOCK, OURS)
        try:
            with theirs:
                self.process = subprocess.Popen(
                    [sys.executable, "-P", "-c", TIED * tied + WORKER, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env={**MEMORY, **os.environ, **own, **path},
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)
        with suppress(OSError):
            self.socket.send(self.setup)

    def news(self) -> Event:
        """What it has to say of its job, or that it died of it."""
        job, epochs = self.current, self.epochs
        try:
            told: News | Exception = self.socket.recv()
            self.began = True
        except (EOFError, OSError):
            told = News("stopped", epochs) if self.told_to_stop else self._died()
        if isinstance(told, Exception):
            raise told
        told = self._sent(told, job.key) if self.mirror else told
        if told.kind == "embedding":
            return Event("embedding", job, told.epochs, of=told.of)
        if told.kind in ("remark", "checkpoint"):
            return Event(told.kind, job, epochs, told.reason)
        if told.kind == "epoch":
            self.epochs = told.epochs
            return Event("epoch", job, told.epochs)
        self.job, self.epochs = None, 0
        return Event(told.kind, job, epochs, told.reason)

    def _sent(self, told: News, key: str) -> News:
        """The news, once what they are of is at the address; of a checkpoint that is not, a remark."""
        assert self.mirror is not None
        if told.kind in ENDINGS:
            self.mirror.send(key)
        elif told.kind == "checkpoint":
            try:
                self.mirror.send_checkpoint(key)
            except store.StoreError as error:
                return News("remark", reason=f"{key}: its checkpoint is only on this machine: {error}")
        return told

    def _died(self) -> News:
        """The news, and the row, of a job whose worker is no more."""
        cause = self._cause_of_death()
        if not self.began:
            cause += " before it began, as it does when memory runs out while it starts (fewer --workers need less)"
        reason = f"its worker process {cause}; the same command runs it again"
        store.write(self.setup.results, failure(self.current, "failed", reason))
        return News("failed", reason=reason)

    def _cause_of_death(self) -> str:
        """How the worker ended, as the end of a sentence."""
        code = self.process.wait() if self.process is not None else 0
        if code == -signal.SIGKILL:
            return "was killed (SIGKILL), by the system when memory ran out or by someone"
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def ask_to_stop(self) -> None:
        """Let it write a checkpoint at its next step; one that does not know how to ends at once."""
        self.told_to_stop = True
        if self.process is not None:
            self.process.terminate()

    def kill(self) -> None:
        """End the worker now, whatever it does, without waiting for it."""
        if self.process is not None:
            self.process.kill()

    def bury(self) -> None:
        """Wait until a worker that is killed has ended."""
        if self.process is not None:
            self.process.wait()
            self.socket.close()
            self.process = None
