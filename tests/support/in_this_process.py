"""An executor without workers: real trainings in the process of the tests, which need not wait for one to start."""

from collections.abc import Callable, Iterator, Sequence

import torch

from bench import store
from bench.execute.conditions import Conditions
from bench.execute.event import Event
from bench.job.cannot_build import refusals
from bench.job.run import run
from bench.matrix.job import ConfigError, Job

__all__ = ["execute"]


def execute(take: Callable[[], Job | Event | None], jobs: Sequence[Job], conditions: Conditions) -> Iterator[Event]:
    """As `bench.execute.pool.execute`, for what does not depend on processes."""
    if sentences := refusals(jobs, conditions.data):
        raise ConfigError("\n".join(sentences))
    while (job := take()) is not None:
        if isinstance(job, Event):
            yield job
            continue
        yield Event("started", job)
        result = run(job, data=conditions.data, results=conditions.results, device=torch.device("cpu"))
        store.write(conditions.results, result)
        yield Event(result.row.status, job, 0, result.row.reason)
