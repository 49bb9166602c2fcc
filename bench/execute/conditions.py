"""Under which conditions jobs run: what an executor is told beside the jobs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bench.execute.stop import Stop
from bench.execute.worker import Limits, Setup
from bench.matrix.plugins_in_use import named

__all__ = ["Conditions"]


class Conditions(NamedTuple):
    """Of all jobs of a run."""

    results: Path
    """Folder of results. All nodes of a cluster see it, unless it stands for an address."""
    data: Path | None
    """Folder with one subfolder per dataset; every node of a cluster has it at the same place."""
    places: Any
    """Of the executor: the device of each worker, or the cluster."""
    threads: int = 1
    """Of each worker on the processor. More threads round differently, so this is not the number of cores."""
    limits: Limits = Limits()
    stop: Stop | None = None
    """Once it is asked for, no job is taken any more, and those that run stop at their next step."""
    shas: Mapping[str, str] | None = None
    """By label of a dataset, the hash of its data as the run has seen it: no job runs on other data. None: on any."""

    def setup(self, device: str, *, share: float = 1.0) -> Setup:
        """What a worker on this device is told, which may take this share of the memory of a GPU."""
        return Setup(device, self.threads, self.results, self.data, named(), self.limits, share, shas=self.shas)
