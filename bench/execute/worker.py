"""One worker process: it runs the jobs that it is sent, one at a time, and tells how they go."""

import math
import os
import signal
import threading
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from bench import store
from bench.matrix.job import Job
from bench.matrix.plugin_file import Plugin, PluginError
from bench.matrix.plugins_in_use import adopt
from bench.store.row import Result, failure

__all__ = ["Limits", "News", "Setup", "work"]


SPARED = 0.1
"""The part of a worker's share of a GPU's memory that is left to CUDA, which keeps something for each process."""


class Limits(NamedTuple):
    """What bounds a job; no result depends on it."""

    checkpoint_every: float = 5.0
    """Minutes of work that a kill may cost: a checkpoint is written that often; 0 for none."""
    time_limit: float | None = None
    """Minutes that a job may take, earlier attempts included."""
    memory_limit: float | None = None
    """GB (10^9 bytes) that it may hold: of the GPU's memory, or of its process on the processor."""


class Setup(NamedTuple):
    """What a worker is told first."""

    device: str
    threads: int
    results: Path
    data: Path | None
    plugins: tuple[Plugin, ...] = ()
    """The files that were named, as they were when the run began."""
    limits: Limits = Limits()
    share: float = 1.0
    """Of its GPU's memory."""
    address: str | None = None
    """What the folder of results stands for, where another machine has a folder of its own for it."""
    shas: Mapping[str, str] | None = None
    """By label of a dataset, the hash of the data that a job has to find; None where any will do."""


class News(NamedTuple):
    """What a worker tells of its job; the fields are those of an Event. `stopped` ends a job that has no row."""

    kind: Any
    epochs: int = 0
    reason: str | None = None
    of: int = 0


class Outlook(NamedTuple):
    """What is known of jobs before any of them runs."""

    refused: list[str]
    """What cannot be built as asked, as `bench.job.cannot_build` says it."""
    doubtful: list[str]
    """What may not fit into the GPU's memory, as `bench.job.memory_advice` says it."""


class Stop:
    """Whether the process is asked to stop. A plain flag: the signal may come while a lock would be held."""

    asked = False


def work(file: int) -> None:
    """Serve the process at the other end of a socket until it closes it, or ends.

    A list of jobs is answered with an `Outlook`. A job is run and stored, whatever goes wrong becomes its row; every
    epoch and the ending are News. A row that cannot be stored is answered with the error, and so is a plugin that
    cannot be imported, or no longer is what the keys of the jobs say, and other data than the run has seen.

    SIGTERM asks for a stop: the job, or else the next one, writes its checkpoint after the step that it is at and is
    over without a row. That is told, and the process serves on.
    """
    stop = Stop()
    signal.signal(signal.SIGTERM, lambda *_: setattr(stop, "asked", True))
    pool: Connection[Any, Any] = Connection(file)
    inbox: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_receive, args=(pool, inbox), daemon=True).start()
    setup: Setup = inbox.get()
    device = _prepared(setup)
    from bench.job.run import run

    train: Callable[..., Result] = partial(run, data=setup.data, results=setup.results, device=device)
    while True:
        asked: Job | list[Job] = inbox.get()
        if isinstance(asked, list):
            pool.send(_outlook(asked, setup.data, device))
            continue
        ended: News | Exception
        try:
            _see_data(asked, setup)
            ended = _stored(train(asked, terms=_terms(setup.limits, pool, stop)), setup)
        except Exception as error:  # one job's fault must not end the others
            ended = _ended(asked, error, setup, stop)
        pool.send(ended)


def _outlook(jobs: list[Job], data: Path | None, device: Any) -> Outlook:
    from bench.job.cannot_build import refusals
    from bench.job.memory_advice import doubts

    refused = refusals(jobs, data)
    return Outlook(refused, [] if refused else doubts(jobs, data, device))


def _see_data(job: Job, setup: Setup) -> None:
    """See that the data is what the run has seen; its loading is kept for the job.

    Raises:
        DataError: it cannot be loaded.
        OtherDataError: it is another version, on this machine or by now.
    """
    from bench import datasets
    from bench.datasets.split import see_same

    label = job.dataset.label
    if setup.shas is not None:
        see_same(label, datasets.load(job.dataset, setup.data), setup.shas[label])


def _ended(job: Job, error: Exception, setup: Setup, stop: Stop) -> News | Exception:
    """How an error has ended a job; itself, if it ends all jobs."""
    from bench.datasets.split import OtherDataError
    from bench.job.watch import LimitError, Stopped

    match error:
        case Stopped():
            stop.asked = False
            return News("stopped")
        case LimitError():
            return _stored(failure(job, "failed", str(error)), setup)
        case store.StoreError() | PluginError() | OtherDataError():
            return error
    return _failed(job, error, setup)


def _terms(limits: Limits, pool: "Connection[Any, Any]", stop: Stop) -> Any:
    """The limits in seconds and bytes, and how the job hears of a stop and speaks to the user."""
    from bench.job.watch import Terms, free_unused_memory

    every, seconds, memory = limits
    if memory is not None:
        free_unused_memory()
    return Terms(
        every=60 * every or math.inf,
        seconds=math.inf if seconds is None else 60 * seconds,
        memory=math.inf if memory is None else 1e9 * memory,
        stop=lambda: stop.asked,
        progress=partial(_tell, pool),
        tell=partial(_tell_embedding, pool),
        remark=lambda sentence: pool.send(News("remark", reason=sentence)),
        kept=lambda: pool.send(News("checkpoint")),
    )


def _receive(pool: "Connection[Any, Any]", inbox: "SimpleQueue[Any]") -> None:
    """Hand on what arrives; the end of the pool, however it came, ends the worker at once."""
    try:
        while True:
            inbox.put(pool.recv())
    except (EOFError, OSError):
        os._exit(1)


def _prepared(setup: Setup) -> Any:
    """Import once what is slow, and make results repeatable; the torch device to train on."""
    import faiss
    import torch

    adopt(setup.plugins)
    torch.set_num_threads(setup.threads)
    faiss.omp_set_num_threads(setup.threads)
    torch.set_deterministic_debug_mode("warn")  # what else sets it imports torch's compiler
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    device = torch.device(setup.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # what names no device takes this one
        if setup.share < 1:
            torch.cuda.set_per_process_memory_fraction((1 - SPARED) * setup.share, device)
    return device


def _tell(pool: "Connection[Any, Any]", epochs: int) -> None:
    pool.send(News("epoch", epochs))


def _tell_embedding(pool: "Connection[Any, Any]", done: int, of: int) -> None:
    pool.send(News("embedding", done, of=of))


def _stored(result: Result, setup: Setup) -> News | store.StoreError:
    try:
        store.write(setup.results, result)
    except store.StoreError as error:
        return error
    store.forget_checkpoint(setup.results, result.row.key)
    return News(result.row.status, reason=result.row.reason)


def _failed(job: Job, error: Exception, setup: Setup) -> News | store.StoreError:
    reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    trace = "".join(traceback.format_exception(error))
    return _stored(failure(job, "failed", reason)._replace(traceback=trace), setup)
