"""What looks after a job while it trains: it writes checkpoints, obeys a request to stop, and minds the limits.

Nothing of this changes a result: a job that was stopped, or killed, and continued ends with the same bits.
"""

import ctypes
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from bench.datasets.held_out import Fold
from bench.job.checkpoint import UnfitError, load, save
from bench.job.fit_result import Fitted
from bench.job.provenance import peak_memory_mb
from bench.matrix.job import Job
from bench.store.checkpoints import checkpoint, forget_checkpoint, keep_checkpoint

__all__ = ["LimitError", "Stopped", "Terms", "Watch", "free_unused_memory"]


class Stopped(Exception):
    """The job was asked to stop; it can be continued from its checkpoint."""


class LimitError(Exception):
    """The job has reached a limit; one sentence."""


class Terms(NamedTuple):
    """How a job is to be run, beside what it is."""

    every: float = math.inf
    """Seconds between checkpoints."""
    seconds: float = math.inf
    """That a job may take, earlier attempts included."""
    memory: float = math.inf
    """Bytes that it may hold: of the GPU's memory, or of its process on the processor."""
    stop: Callable[[], bool] = lambda: False
    """Whether it is asked to stop."""
    progress: Callable[[int], None] = lambda _epochs: None
    """Told the number of epochs done, those of the models before included."""
    tell: Callable[[int, int], None] = lambda _done, _of: None
    """Told how many pictures are through a frozen trunk, and of how many, where that is not done yet."""
    remark: Callable[[str], None] = lambda _sentence: None
    """Told what the user should know."""
    kept: Callable[[], None] = lambda: None
    """Told that a checkpoint is written."""


class Stateful(Protocol):
    """What has a state that it can be continued from."""

    def state_dict(self) -> dict[str, Any]:
        """All of it, as tensors, numbers and text."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""


class Watch:
    """Of one job: where it stands, what it has spent, and its terms."""

    def __init__(self, job: Job, results: Path, device: torch.device, terms: Terms = Terms()) -> None:  # noqa: B008
        self.job, self.results, self.device, self.terms = job, results, device, terms
        self.started = self.written = time.monotonic()
        self.identity = {"key": job.key, "data": ""}
        self.finished: list[Fitted] = []
        """Models that are trained."""
        self.begun: dict[str, Any] | None = None
        """State of the model that a checkpoint was written in, until it is taken up."""
        self.training: Stateful | None = None
        self.earlier = self.peak = 0.0
        self.resumed = 0
        self.warned = False

    @property
    def seconds(self) -> float:
        """That the job has taken, earlier attempts included as far as they were not lost."""
        return self.earlier + time.monotonic() - self.started

    @property
    def peak_memory_mb(self) -> float:
        """The most that an attempt has held."""
        return max(self.peak, peak_memory_mb(self.device))

    def take_up(self, data: str) -> None:
        """Read the checkpoint that there may be; one that is no good is told and forgotten.

        Args:
            data: SHA-256 of the job's images.
        """
        self.identity["data"] = data
        file = checkpoint(self.results, self.job.key)
        if file is None:
            return
        try:
            self._go_on_from(load(file, self.identity))
        except UnfitError as error:
            self.begin_anew(str(error))

    def _go_on_from(self, state: dict[str, Any]) -> None:
        try:
            self.finished = [Fitted.of(one, self.device) for one in state["finished"]]
            self.begun, self.earlier, self.peak = state["begun"], float(state["seconds"]), float(state["peak"])
            self.resumed = int(state["resumed"]) + 1
        except Exception as error:  # whatever does not fit, the job can begin anew
            raise UnfitError("does not fit this version of the harness") from error

    def left(self, planned: Sequence[Fold]) -> Iterator[tuple[int, Fold]]:
        """Number and fold of each model that is not trained yet, as it is asked for; one that diverged is the last."""
        while len(self.finished) < len(planned) and not (self.finished and self.finished[-1].diverged):
            yield len(self.finished), planned[len(self.finished)]

    def begin_anew(self, why: str) -> None:
        """Forget a checkpoint that cannot be continued from, and tell the user."""
        self.terms.remark(f"{self.job.key}: its checkpoint {why}; the job starts from its beginning")
        forget_checkpoint(self.results, self.job.key)
        self.finished, self.begun, self.training = [], None, None
        self.earlier, self.peak, self.resumed = 0.0, 0.0, 0

    def follow(self, training: Stateful) -> None:
        """Watch a training from now on; one that a checkpoint was written in goes on from there.

        Raises:
            UnfitError: the state does not fit the training.
        """
        if self.begun is not None:
            try:
                training.load_state_dict(self.begun)
            except Exception as error:  # whatever does not fit, the job can begin anew
                raise UnfitError("does not fit this version of the harness or of a plugin") from error
        self.training, self.begun = training, None

    def finish(self, model: Fitted) -> None:
        """A model is trained."""
        self.finished.append(model)
        self.training = None

    def look(self) -> None:
        """Do what is due; called whenever the training could be continued from its state.

        Raises:
            Stopped: the job is asked to stop, and its checkpoint is written.
            LimitError: it has reached a limit.
        """
        if self.terms.stop():
            self.write()
            raise Stopped
        if self.seconds > self.terms.seconds:
            limit = f"the time limit of {self.terms.seconds / 60:g} minutes"
            raise LimitError(f"it reached {limit} before it was trained: raise --time-limit, or train for fewer epochs")
        if self.terms.memory < math.inf and (held := _held(self.device)) > self.terms.memory:
            limit = f"the memory limit of {self.terms.memory / 1e9:g} GB"
            advice = "raise --memory-limit, or set images_at_a_time"
            raise LimitError(f"it held {held / 1e9:.2f} GB, above {limit}: {advice}")
        if time.monotonic() - self.written >= self.terms.every:
            self.write()

    def write(self) -> None:
        """Write a checkpoint, if checkpoints are wanted and there is something to keep; that it fails is only told."""
        if self.terms.every == math.inf or not (self.training or self.finished):
            return
        try:
            keep_checkpoint(self.results, self.job.key, lambda file: save(file, self._state(), self.identity))
        except Exception as error:  # the disk is full, say: the job itself can go on
            self._warn(getattr(error, "strerror", None) or str(error).strip().partition("\n")[0])
        else:
            self.terms.kept()
        self.written = time.monotonic()

    def _state(self) -> dict[str, Any]:
        return {
            "finished": [one.state_dict() for one in self.finished],
            "begun": self.training and self.training.state_dict(),
            "seconds": self.seconds,
            "peak": self.peak_memory_mb,
            "resumed": self.resumed,
        }

    def _warn(self, why: str) -> None:
        """Say that no checkpoint can be written; once, though it is tried again and again."""
        if not self.warned:
            advice = "the job goes on, but a kill would lose its work"
            self.terms.remark(f"{self.job.key}: its checkpoint cannot be written ({why}); {advice}")
        self.warned = True


def free_unused_memory() -> None:
    """Give back to the system what earlier jobs of this process have freed, so that no later job is blamed for it."""
    with suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


def _held(device: torch.device) -> float:
    """Bytes: the peak of the GPU's memory, or what the process holds of the computer's now, mapped files left out."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    try:
        _, resident, mapped, *_ = map(int, Path("/proc/self/statm").read_bytes().split())
    except (OSError, ValueError):  # not Linux
        return peak_memory_mb(device) * 1e6
    return float((resident - mapped) * os.sysconf("SC_PAGE_SIZE"))
