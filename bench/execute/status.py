"""How a matrix stands while runs are at it: what has ended, what runs where, what failed and why, the time left."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from bench.analysis.controls import controls, waiting
from bench.execute.plan import FINAL
from bench.matrix.job import TRAINED, Job
from bench.store import empty, load, statuses
from bench.store.leases import STALE, Lease, leases

__all__ = ["Running", "Standing", "standing"]


class Running(NamedTuple):
    """One job under way."""

    job: Job
    lease: Lease

    @property
    def seconds(self) -> float:
        """Since it was started."""
        return max(0.0, (datetime.now(UTC) - self.lease.started).total_seconds())

    @property
    def silent(self) -> float:
        """Seconds without a sign of life; 0 where that is no more than usual, or than clocks differ."""
        found = (datetime.now(UTC) - self.lease.renewed).total_seconds()
        return found if found > 2 * STALE else 0.0


class Standing(NamedTuple):
    """What is known of the jobs of a matrix."""

    jobs: tuple[Job, ...]
    """Those of the matrix, and its controls as far as they are chosen."""
    statuses: dict[str, str]
    """By key: done, diverged, failed, skipped, running, new."""
    running: tuple[Running, ...]
    failed: tuple[tuple[Job, str], ...]
    """With the reason."""
    undecided: int
    """Ensembles whose controls are not chosen yet."""
    others: int
    """Jobs that run in this folder and are none of these, such as further seeds."""
    seconds: float | None
    """Until all have ended, with as many at a time as now; None while no job like one of these was measured."""

    @property
    def counts(self) -> Counter[str]:
        """How many jobs have each status."""
        return Counter(self.statuses.values())


def standing(jobs: Sequence[Job], results: Path, *, choose: bool) -> Standing:
    """Look once at a folder of results; it need not be there yet.

    Args:
        jobs: of an expanded matrix.
        results: folder of results.
        choose: whether ensembles are held against controls.
    """
    taken = {
        key: lease for key, lease in leases(results).items() if not lease.dead
    }  # first: a row comes before its end
    try:
        rows = load(results)
    except FileNotFoundError:
        rows = empty()
    whole = (*jobs, *(controls(jobs, rows) if choose else ()))
    stored = statuses(rows)
    under_way = [Running(job, taken[job.key]) for job in whole if job.key in taken and stored.get(job.key) not in FINAL]
    found: dict[str, str] = {job.key: stored.get(job.key, "new") for job in whole}
    found |= {one.job.key: "running" for one in under_way}
    reasons = dict(zip(rows["key"], rows["reason"].astype(object).fillna("no reason was stored"), strict=True))
    return Standing(
        jobs=whole,
        statuses=found,
        running=tuple(under_way),
        failed=tuple((job, str(reasons[job.key])) for job in whole if found[job.key] == "failed"),
        undecided=waiting(jobs, rows) if choose else 0,
        others=len(taken.keys() - found.keys() - stored.keys()),
        seconds=_left([job for job in whole if found[job.key] == "new"], under_way, rows),
    )


def _left(new: Iterable[Job], running: Sequence[Running], rows: pd.DataFrame) -> float | None:
    """By the median of jobs with the same recipe on the same dataset and backbone, else with any recipe there."""
    done = rows[(rows["status"] == "done") & rows["kind"].isin(TRAINED) & rows["seconds"].notna()]
    place = ["dataset", "backbone"]
    known: dict[Any, float] = done.groupby(place)["seconds"].median().to_dict()
    known |= done.groupby([*place, "recipe"])["seconds"].median().to_dict()
    shares = [(one.job, 1 - one.lease.epochs / one.lease.of if one.lease.of else 1.0) for one in running]
    total = 0.0
    for job, share in [*((job, 1.0) for job in new), *shares]:
        if job.kind not in TRAINED:
            continue
        seconds = known.get((*_place(job), _recipe(job)), known.get(_place(job)))
        if seconds is None:
            return None
        total += share * seconds
    return total / max(1, len(running))


def _place(job: Job) -> tuple[str, str]:
    return job.dataset.label, job.backbone.label


def _recipe(job: Job) -> str:
    """As a row has it."""
    return json.dumps(job.recipe.model_dump(mode="json"))
