"""Very many jobs of one second on a Ray cluster of this machine with 64 logical CPUs: what the executor adds to a job.

    PYTHONPATH=tests:. python -P tests/perf/ray_jobs.py [JOBS] [CPUS]     # by default 10,000 and 64; needs Ray

Nothing is trained. The driver is the executor as it is. Its actors are real ones, but where `Host` has a process that
trains beside it, they sleep for a second and tell the news of a job of one epoch: 64 processes with torch fit on no
small machine. So all that lies between the driver and a job is measured, and not what a job takes on its node. No rows
are written. What is added is told of the second half of the jobs, when all actors have begun.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.jobs import tiny

from bench.execute import ray_executor
from bench.execute.conditions import Conditions
from bench.execute.event import ENDINGS
from bench.execute.ray_cluster import Cluster
from bench.execute.ray_node import PULSE
from bench.execute.worker import News

SECOND = 1.0


class Sleeper:
    """In the place of `Host`: a job is a second of sleep, told as a job of one epoch."""

    def __init__(self, _setup: object) -> None:
        self.until = 0.0

    def ready(self) -> None:
        """As there."""

    def refuse(self, _jobs: object) -> None:
        """As there: nothing to say."""

    def run(self, _job: object) -> list[News]:
        """As there."""
        self.until = time.monotonic() + SECOND
        return self.news()

    def news(self) -> list[News]:
        """As there."""
        left = self.until - time.monotonic()
        time.sleep(max(0.0, min(left, PULSE)))
        return [News("epoch", 1), News("done")] if left <= PULSE else []

    def stop(self) -> None:
        """As there."""


@contextmanager
def local_cluster(cpus: int) -> Iterator[str]:
    """The address of a cluster of this machine that says it has so many CPUs."""
    import ray

    ray.init("local", num_cpus=cpus, include_dashboard=False, log_to_driver=False)
    try:
        yield "auto"
    finally:
        ray.shutdown()


def seconds_used() -> float:
    """Of the processor, by the driver so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main(count: int, cpus: int) -> None:
    ray_executor.Host = Sleeper  # type: ignore[attr-defined, misc, assignment]
    jobs = [tiny()[0].model_copy(update={"seed": seed}) for seed in range(count)]
    queue, began, half, before, ended, at = iter(jobs), 0.0, 0.0, 0.0, 0, time.monotonic()
    with tempfile.TemporaryDirectory() as name, local_cluster(cpus) as address:
        conditions = Conditions(Path(name), None, Cluster(address))
        for event in ray_executor.execute(lambda: next(queue, None), jobs[:cpus], conditions):
            if event.kind == "started" and not began:
                began = time.monotonic()
                print(f"{began - at:.0f} s until the first job starts", file=sys.stderr)
            if event.kind in ENDINGS:
                ended += 1
                at = time.monotonic()
                if ended == count // 2:
                    half, before = at, seconds_used()
                if not ended % 1000:
                    print(f"{at - began:.0f} s: {ended:,} jobs", file=sys.stderr, flush=True)
    later, memory = ended - count // 2, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    place, used = (at - half) * cpus / later, (seconds_used() - before) / later
    print(f"{ended:,} jobs of {SECOND:g} s on {cpus} logical CPUs took {at - began:.0f} s")
    print(f"in the second half a place takes {place:.3f} s for a job, so {place - SECOND:.3f} s are added")
    print(f"the driver used {1000 * used:.1f} ms of the processor for a job, and {memory:.0f} MB")


if __name__ == "__main__":
    JOBS, CPUS = (int(given) for given in (*sys.argv[1:], *("10000", "64")[len(sys.argv) - 1 :]))
    main(JOBS, CPUS)
