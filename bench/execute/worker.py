"""One worker process: it runs the jobs that it is sent, one at a time, and tells how they go."""

import os
import threading
import traceback
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

__all__ = ["News", "Setup", "work"]


class Setup(NamedTuple):
    """What a worker is told first."""

    device: str
    threads: int
    results: Path
    data: Path | None
    plugins: tuple[Plugin, ...] = ()
    """The files that were named, as they were when the run began."""


class News(NamedTuple):
    """What a worker tells of its job; the fields are those of an Event."""

    kind: Any
    epochs: int = 0
    reason: str | None = None
    of: int = 0


def work(file: int) -> None:
    """Serve the process at the other end of a socket until it closes it, or ends.

    A list of jobs is answered with the sentences of `bench.job.run.refusals`. A job is run and stored, whatever goes
    wrong becomes its row; every epoch and the ending are News. A row that cannot be stored is answered with the error,
    and so is a plugin that cannot be imported, or no longer is what the keys of the jobs say.
    """
    pool: Connection[Any, Any] = Connection(file)
    inbox: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_receive, args=(pool, inbox), daemon=True).start()
    setup: Setup = inbox.get()
    device = _prepared(setup)
    from bench.job.run import refusals, run

    while True:
        asked: Job | list[Job] = inbox.get()
        if isinstance(asked, list):
            pool.send(refusals(asked, setup.data))
            continue
        told = {"progress": partial(_tell, pool), "tell": partial(_tell_embedding, pool)}
        news: News | Exception
        try:
            news = _stored(run(asked, data=setup.data, results=setup.results, device=device, **told), setup)
        except Exception as error:  # one job's fault must not end the others
            news = error if isinstance(error, (store.StoreError, PluginError)) else _failed(asked, error, setup)
        pool.send(news)


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
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    return torch.device(setup.device)


def _tell(pool: "Connection[Any, Any]", epochs: int) -> None:
    pool.send(News("epoch", epochs))


def _tell_embedding(pool: "Connection[Any, Any]", done: int, of: int) -> None:
    pool.send(News("embedding", done, of=of))


def _stored(result: Result, setup: Setup) -> News | store.StoreError:
    try:
        store.write(setup.results, result)
    except store.StoreError as error:
        return error
    return News(result.row.status, reason=result.row.reason)


def _failed(job: Job, error: Exception, setup: Setup) -> News | store.StoreError:
    reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    trace = "".join(traceback.format_exception(error))
    return _stored(failure(job, "failed", reason)._replace(traceback=trace), setup)
