"""How a matrix is read, where and how its jobs are run: what is asked for, its defaults, and what makes no sense."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from bench.execute import pool, ray_executor
from bench.execute.devices import checked_gpus, places
from bench.execute.ray_cluster import Cluster
from bench.execute.stop import Stop
from bench.execute.worker import Limits
from bench.matrix import file
from bench.matrix.catalogue import did_you_mean
from bench.matrix.file import Matrix
from bench.matrix.job import ConfigError
from bench.matrix.plugins import use

__all__ = ["EXECUTORS", "MatrixOptions", "RunOptions", "Way", "apart", "see_executor"]

EXECUTORS: dict[str, Callable[..., Any]] = {"local": pool.execute, "ray": ray_executor.execute}


def see_executor(name: str) -> None:
    """Raise a ConfigError where there is no such executor."""
    if name not in EXECUTORS:
        raise ConfigError(f"there is no executor {name!r}{did_you_mean(name, EXECUTORS)}")


class RunOptions(TypedDict, total=False):
    """Arguments of `bench.run`, which explains them, of `bench.check` and of `bench.search`."""

    changes: Sequence[str]
    skip_broken: bool
    plugins: Sequence[str | Path]
    data: str | Path | None
    device: str
    workers: int | None
    threads: int
    executor: str
    address: str | None
    cpus_per_job: float | None
    gpus_per_job: float | None
    any_versions: bool
    checkpoint_every: float
    time_limit: float | None
    memory_limit: float | None
    retry: str | None
    max_failures: int | None
    shard: str | None
    stop: Stop | None


class MatrixOptions(NamedTuple):
    """How a matrix is read."""

    changes: Sequence[str] = ()
    skip_broken: bool = False
    plugins: Sequence[str | Path] = ()

    def load(self, matrix: Matrix | str | Path, *, seeds: int | None = None) -> Matrix:
        """A matrix that is asked for by its name or file, once the plugins are in use that it may name."""
        use(self.plugins)
        return file.load(matrix, self.changes, seeds=seeds, skip_broken=self.skip_broken)


class Way(NamedTuple):
    """Where and how jobs are run."""

    results: Path
    data: str | Path | None = None
    device: str = "auto"
    workers: int | None = None
    threads: int = 1
    executor: str = "local"
    address: str | None = None
    cpus_per_job: float | None = None
    gpus_per_job: float | None = None
    any_versions: bool = False
    checkpoint_every: float = Limits().checkpoint_every
    time_limit: float | None = None
    memory_limit: float | None = None
    retry: str | None = None
    max_failures: int | None = None
    shard: str | None = None
    stop: Stop | None = None

    def checked_limits(self) -> Limits:
        """Of every job.

        Raises:
            ConfigError: a limit, or another choice, makes no sense.
        """
        see_executor(self.executor)
        if self.max_failures is not None and self.max_failures < 1:
            raise ConfigError(f"max_failures = {self.max_failures}: allow one failure or more, or leave it out")
        found = Limits(self.checkpoint_every, self.time_limit, self.memory_limit)
        for name, value in found._asdict().items():
            if value is not None and not (0 <= value < math.inf and (value or name == "checkpoint_every")):
                none = "0 for no checkpoints" if name == "checkpoint_every" else "nothing for no limit"
                raise ConfigError(f"{name.replace('_', '-')} = {value:g}: give a number above 0, or {none}")
        return found

    def places(self) -> Sequence[str] | Cluster:
        """Where its executor runs jobs; ConfigError where it cannot."""
        held = (self.cpus_per_job, self.gpus_per_job)
        cluster = Cluster(self.address, *held, self.device, self.workers, self.any_versions)
        if cluster.asked_of(self.executor):
            return cluster.checked()
        gpus = checked_gpus(self.gpus_per_job, self.device)
        return places(self.device, self.workers, threads=self.threads, gpus=gpus)


def apart(options: RunOptions) -> tuple[MatrixOptions, dict[str, Any]]:
    """How a matrix is read, and what is left: arguments of `Way`."""
    way: dict[str, Any] = dict(options)
    return MatrixOptions(**{name: way.pop(name) for name in MatrixOptions._fields if name in way}), way
