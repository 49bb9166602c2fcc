"""The jobs that are ready, on the devices there are: warm worker processes, one job each at a time.

Every worker has a socket of its own, so a worker that dies takes its own job with it and nothing else: no lock and no
queue is shared.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from bench import store
from bench.execute.event import Event
from bench.execute.worker import News, Setup
from bench.matrix.job import ConfigError, Job
from bench.matrix.plugins_in_use import named
from bench.store.row import failure

__all__ = ["execute"]

WORKER = "import sys; from bench.execute.worker import work; work(int(sys.argv[1]))"
"""What a worker process runs. Unlike multiprocessing's it never imports the caller's script, which needs no guard."""

LOOK = 2.0
"""Seconds after which a free place asks for a job again: another run may have left one."""

MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**32)}
"""Makes glibc keep freed memory: returning every activation to the system costs a third of a step on the processor."""


def execute(
    take: Callable[[], Job | Event | None],
    jobs: Sequence[Job],
    *,
    results: Path,
    data: Path | None,
    places: Sequence[str],
    threads: int = 1,
) -> Generator[Event, None, None]:
    """Run and store jobs, and tell how it goes.

    This is all that an executor is: a function with these arguments that yields events. It asks for a job whenever a
    place is free, and again after every event that ends one; when there is none and nothing runs, it is over. Closing
    the generator ends the workers at once.

    Args:
        take: gives the next job that may start; None while there is none. Or news of a job of another run, to be told.
        jobs: what is known of the jobs to come. Each is built once, before anything trains.
        results: folder of results.
        data: folder with one subfolder per dataset.
        places: the device of each worker.
        threads: of each worker on the processor. More threads round differently, so this is not the number of cores.

    Raises:
        ConfigError: a backbone or an objective cannot be built as asked, or a plugin not be imported; nothing was
            trained. Or a plugin has changed since, and a worker had to start anew; finished jobs are kept.
        StoreError: results cannot be written any more; finished jobs are kept.
    """
    workers = [_Worker(Setup(place, threads, results, data, named())) for place in places]
    try:
        for worker in workers[: max(1, len(jobs))]:
            worker.start()  # all import while the first one checks
        _refuse(workers[0], jobs)
        while True:
            idle = [worker for worker in workers if worker.job is None]
            yield from _start(take, idle)
            if len(idle) == len(workers):
                return
            for worker in _with_news(workers, LOOK if idle else None):
                yield worker.news()
    finally:
        for worker in workers:
            worker.stop()


def _start(take: Callable[[], Job | Event | None], idle: list["_Worker"]) -> Iterator[Event]:
    """Give idle workers the jobs that there are; those that get none are left in the list."""
    while idle and (job := take()) is not None:
        if isinstance(job, Event):
            yield job
            continue
        worker = idle.pop(0)
        if not worker.alive:
            worker.start()
        worker.job = job
        with suppress(OSError):  # one that has just died says so when it is asked for news
            worker.socket.send(job)
        yield Event("started", job)


def _with_news(workers: Sequence["_Worker"], seconds: float | None) -> list["_Worker"]:
    """Wait until a worker has something to say of its job, for so many seconds at most; those that do."""
    busy = {worker.socket: worker for worker in workers if worker.job is not None}
    ready = wait(list(busy), seconds)
    return [worker for socket, worker in busy.items() if socket in ready]


def _refuse(worker: "_Worker", jobs: Sequence[Job]) -> None:
    """Build everything once in a worker, before anything trains."""
    try:
        worker.socket.send(list(jobs))
        sentences: list[str] = worker.socket.recv()
    except (EOFError, OSError):
        return  # whichever job ends a worker will do so again, and have its row
    if sentences:
        raise ConfigError("\n".join(sentences))


class _Worker:
    """One worker process that is started when needed, and again after it died."""

    socket: "Connection[Any, Any]"
    process: subprocess.Popen[bytes] | None = None
    job: Job | None = None
    epochs = 0

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """A new process; it never sees Ctrl-C, which is the parent's to handle."""
        self.stop()
        threads = str(self.setup.threads)  # set before torch is imported
        own = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        path = {"PYTHONPATH": os.pathsep.join(folder or os.getcwd() for folder in sys.path)}
        self.socket, theirs = Pipe()
        old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with theirs:
                self.process = subprocess.Popen(
                    [sys.executable, "-P", "-c", WORKER, str(theirs.fileno())],
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
        job, epochs = self.job, self.epochs
        assert job is not None, "a worker without a job has no news"
        try:
            told: News | Exception = self.socket.recv()
        except (EOFError, OSError):
            reason = f"its worker process {self._cause_of_death()}; the same command runs it again"
            store.write(self.setup.results, failure(job, "failed", reason))
            told = News("failed", reason=reason)
        if isinstance(told, Exception):
            raise told
        if told.kind == "embedding":
            return Event("embedding", job, told.epochs, of=told.of)
        if told.kind == "epoch":
            self.epochs = told.epochs
            return Event("epoch", job, told.epochs)
        self.job, self.epochs = None, 0
        return Event(told.kind, job, epochs, told.reason)

    def _cause_of_death(self) -> str:
        """How the worker ended, as the end of a sentence."""
        code = self.process.wait() if self.process is not None else 0
        if code == -signal.SIGKILL:
            return "was killed (SIGKILL), by the system when memory ran out or by someone"
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def stop(self) -> None:
        """End the worker now, whatever it does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.socket.close()
