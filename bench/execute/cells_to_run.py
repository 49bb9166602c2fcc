"""Which cells of a matrix a run takes: all without a result, only those that failed, or the share of one machine."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench.execute.plan import without_result
from bench.matrix.catalogue import did_you_mean
from bench.matrix.job import ConfigError, Job
from bench.store.row import Status

__all__ = ["RETRIES", "Share", "share"]

RETRIES = ("failed", "skipped", "none")


class Share(NamedTuple):
    """What a run takes; by default every cell that has no result, with those that failed or were skipped."""

    retry: str | None = None
    """failed or skipped: only cells that ended so, and model ensembles of them; none: only cells without a row."""
    shard: tuple[int, int] | None = None
    """Number, from 1, and how many there are."""

    def own(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs of this shard: of the cells, in an order by their keys, every n-th.

        Model ensembles and controls are of every shard: one that has time runs them.
        """
        if self.shard is None:
            return list(jobs)
        number, shards = self.shard
        cells = sorted({job.key for job in jobs if not (job.members or job.control)}, key=_mixed)
        own = set(cells[number - 1 :: shards])
        return [job for job in jobs if job.members or job.control or job.key in own]

    def due(self, jobs: Sequence[Job], statuses: Mapping[str, Status]) -> list[Job]:
        """The jobs that are to be run."""
        missing = without_result(jobs, statuses)
        if self.retry is None:
            return missing
        if self.retry == "none":
            return [job for job in missing if job.key not in statuses]
        again = {job.key for job in missing if statuses.get(job.key) == self.retry}
        return [job for job in missing if not again.isdisjoint((job.key, *(one.key for one in job.members)))]


def _mixed(key: str) -> str:
    """So that no shard has all the seeds of a slow loss."""
    return hashlib.sha256(key.encode()).hexdigest()


def share(retry: str | None, shard: str | None, *, by_rule: bool) -> Share:
    """What is asked for in words.

    Args:
        retry: failed, skipped, none, or nothing.
        shard: such as 3/16, or nothing.
        by_rule: whether a rule adds the seeds.

    Raises:
        ConfigError: it is something else.
    """
    if retry is not None and retry not in RETRIES:
        raise ConfigError(f"--retry {retry}: choose failed, skipped or none{did_you_mean(retry, RETRIES)}")
    if by_rule and (shard is not None or retry in ("failed", "skipped")):
        option = "--shard" if shard is not None else f"--retry {retry}"
        raise ConfigError(f"{option} and --until exclude each other: a rule decides by the scores of all cells")
    return Share(retry, None if shard is None else _numbers(shard))


def _numbers(shard: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", shard)
    number, shards = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= shards:
        raise ConfigError(f"--shard {shard}: write it as 3/16, the number of the shard from 1 and how many there are")
    return number, shards
