"""The jobs that are missing, on the devices there are: warm worker processes, one job each at a time.

Every worker is an executor of one process, so a worker that dies takes its own job with it and nothing else: no lock
and no queue is shared.
"""

import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from ctypes import Array, c_int
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from bench import store
from bench.matrix.job import ConfigError, Job
from bench.store.row import Status, failure

__all__ = ["Event", "devices", "execute"]

T = TypeVar("T")

TICK = 0.2
"""Seconds between two looks at the workers' progress."""

MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**32)}
"""Makes glibc keep freed memory: returning every activation to the system costs a third of a step on the processor."""


class Event(NamedTuple):
    """News of one job: epochs done so far, or how it ended."""

    job: Job
    epochs: int
    status: Status | None = None
    reason: str | None = None


class Outcome(NamedTuple):
    """What a worker reports of a job that it has stored."""

    status: Status
    reason: str | None


def devices(wanted: str) -> list[str]:
    """The devices to train on: every GPU there is, or the processor.

    Args:
        wanted: auto, cpu or cuda.

    Raises:
        ConfigError: CUDA is asked for and there is none, or the word is another.
    """
    if wanted not in {"auto", "cpu", "cuda"}:
        raise ConfigError(f"--device {wanted}: choose auto, cpu or cuda")
    gpus = 0 if wanted == "cpu" else _gpus()
    if wanted == "cuda" and not gpus:
        raise ConfigError("--device cuda: torch sees no GPU here; use --device cpu")
    return [f"cuda:{index}" for index in range(gpus)] or ["cpu"]


def _gpus() -> int:
    nodes = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
    if Path("/dev").exists() and not any(Path(node).exists() for node in nodes):
        return 0  # spares the import of torch where there can be none
    import torch

    return torch.cuda.device_count()


def execute(
    jobs: Sequence[Job], results: Path, *, data: Path | None, workers: Sequence[str], threads: int = 1
) -> Iterator[Event]:
    """Run and store every job, and tell how it goes; model ensembles wait for all trained jobs.

    Args:
        jobs: in the order to start them.
        results: folder of results.
        data: the folder that holds one folder a dataset.
        workers: the device of each worker.
        threads: of each worker on the processor. More threads round differently, so this is not the number of cores.

    Raises:
        ConfigError: a backbone or an objective cannot be built as asked; nothing was trained.
        StoreError: results cannot be written any more; finished jobs are kept.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in MEMORY.items()})
    epochs = RawArray("i", max(1, len(jobs)))
    slots = [_Slot(device, threads, epochs) for device in workers[: max(1, len(jobs))]]
    try:
        for slot in slots[1:]:
            slot.submit(_refusals, [], data)  # starts and imports while the first one checks
        _refuse(slots[0], jobs, data)
        numbered = list(enumerate(jobs))
        for wave in (False, True):
            queue = deque((i, job) for i, job in numbered if (job.kind == "model_ensemble") is wave)
            yield from _drain(queue, slots, epochs, data, results)
    finally:
        for slot in slots:
            slot.stop()


def _refuse(slot: "_Slot", jobs: Sequence[Job], data: Path | None) -> None:
    """Build everything once in a worker, before anything trains."""
    try:
        sentences = slot.submit(_refusals, list(jobs), data).result()
    except BrokenProcessPool:
        return  # whichever job ends a worker will do so again, and have its row
    if sentences:
        raise ConfigError("\n".join(sentences))


def _drain(
    queue: deque[tuple[int, Job]], slots: list["_Slot"], epochs: "Array[c_int]", data: Path | None, results: Path
) -> Iterator[Event]:
    running: dict[Future[Outcome], tuple[int, Job, _Slot]] = {}
    told: dict[int, int] = {}
    while queue or running:
        busy = {id(slot) for _, _, slot in running.values()}
        for slot in [slot for slot in slots if id(slot) not in busy][: len(queue)]:
            index, job = queue.popleft()
            running[slot.submit(_work, job, index, data, results)] = (index, job, slot)
        finished, _ = wait(running, timeout=TICK, return_when=FIRST_COMPLETED)
        for index, job, _ in running.values():
            if told.get(index, 0) != epochs[index]:
                told[index] = epochs[index]
                yield Event(job, epochs[index])
        for future in finished:
            index, job, slot = running.pop(future)
            outcome = _outcome(future, job, slot, results)
            yield Event(job, epochs[index], outcome.status, outcome.reason)


def _outcome(future: Future[Outcome], job: Job, slot: "_Slot", results: Path) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        reason = f"its worker process {slot.cause_of_death()}; the same command runs it again"
        store.write(results, failure(job, "failed", reason))
        return Outcome("failed", reason)


class _Slot:
    """One worker process that is started when needed, and again after it died."""

    def __init__(self, device: str, threads: int, epochs: "Array[c_int]") -> None:
        self.start = (device, threads, epochs)
        self.process: BaseProcess | None = None
        self.executor = self._executor()

    def _executor(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_start, initargs=self.start)

    def submit(self, function: Callable[..., T], *arguments: object) -> Future[T]:
        """Start a call; the worker never sees Ctrl-C, which is the parent's to handle."""
        before = set(active_children())
        old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            future = self.executor.submit(function, *arguments)
        except BrokenProcessPool:  # it died since its last job
            self.executor = self._executor()
            future = self.executor.submit(function, *arguments)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)
        self.process = next(iter(set(active_children()) - before), self.process)
        return future

    def cause_of_death(self) -> str:
        """How the worker ended, as the end of a sentence."""
        if self.process is None:
            return "did not start"
        code = _exit_code(self.process)
        if code == -signal.SIGKILL:
            return "was killed (SIGKILL), by the system when memory ran out or by someone"
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def stop(self) -> None:
        """End the worker now, whatever it does."""
        if self.process is not None:
            self.process.kill()
        self.executor.shutdown(wait=True, cancel_futures=True)


def _exit_code(process: BaseProcess) -> int:
    """Of a process that has just died; the executor's thread may be the one that reaps it, so ask until it is known."""
    for _ in range(100):
        if process.exitcode is not None:
            return process.exitcode
        time.sleep(0.05)
    return 0


_worker: dict[str, Any] = {}
"""What a worker process knows since its start: its device and where to write its progress."""


def _start(device: str, threads: int, epochs: "Array[c_int]") -> None:
    """First call in a worker: threads are set before torch is imported, and everything slow is imported once."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    os.environ.update(OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads), CUBLAS_WORKSPACE_CONFIG=":4096:8")
    import faiss
    import torch

    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    _worker.update(device=torch.device(device), epochs=epochs)


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _refusals(jobs: list[Job], data: Path | None) -> list[str]:
    from bench.job.run import refusals

    return refusals(jobs, data)


def _work(job: Job, index: int, data: Path | None, results: Path) -> Outcome:
    """One job in a worker: run and store it; whatever goes wrong becomes a row."""
    from bench.job.run import run

    def progress(epoch: int) -> None:
        _worker["epochs"][index] = epoch

    try:
        result = run(job, data=data, results=results, device=_worker["device"], progress=progress)
    except Exception as error:  # one job's fault must not end the others
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        result = failure(job, "failed", reason)._replace(traceback=traceback.format_exc())
    store.write(results, result)
    return Outcome(result.row.status, result.row.reason)
