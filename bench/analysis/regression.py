"""Is a fresh run of a matrix worse than its baseline? Rows of both in, a verdict per method and for the mean out."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis.regression_baseline import Absent, Baseline
from bench.matrix.job import Job
from bench.stats.estimate import Numbers
from bench.stats.regression_gate import CANNOT_TELL, WORSE, Gate, gate

__all__ = ["FAILED", "MEAN", "Checked", "CheckedBoard", "Verdict", "judge", "settled"]

FAILED = "failed"
"""The verdict on a method without a score from a seed that has one in the baseline, or is new."""
MEAN = "mean of all"
BITS, ORDER = ("embeddings_sha", "first_hits_sha"), ("first_hits_sha",)


class Verdict(NamedTuple):
    """What is known of one method, or of the mean of all; scores in [0, 1], NaN where there is no number."""

    label: str
    cell: str
    """Empty for the mean of all."""
    seeds: tuple[int, int]
    """How many have a score in the baseline, and afresh."""
    baseline: float
    """Mean over the seeds that the drop is taken over."""
    fresh: float
    verdict: str
    drop: float
    """Over these seeds: the baseline less the fresh runs."""
    upper: float
    """One-sided 95 % upper bound of the drop."""
    p: float
    """One-sided, corrected by Holm; NaN where nothing changed."""
    seen: float
    """The drop that would be called worse three times in four."""
    reason: str
    """Why it failed, or could not be called worse, in a sentence."""


class Side(NamedTuple):
    """Scores of the baseline or of the fresh runs."""

    values: Numbers
    """[methods, seeds], NaN for none."""
    seeds: list[int]


class CheckedBoard(NamedTuple):
    """The methods of one dataset and backbone, which are judged together."""

    dataset: str
    backbone: str
    methods: tuple[Verdict, ...]
    mean: Verdict
    paired: bool
    """Whether differences per seed were taken, because the same seeds ran on both sides and stay close."""

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Of the methods, and of the mean where there are two methods or more."""
        return (*self.methods, *([self.mean] if len(self.methods) > 1 else []))


class Checked(NamedTuple):
    """The outcome of a check."""

    source: str
    """The baseline."""
    metric: str
    seeds: int
    """Fresh seeds that were needed."""
    boards: tuple[CheckedBoard, ...]
    absent: tuple[Absent, ...]
    """Methods of the matrix that the baseline does not have."""
    notes: tuple[str, ...]

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """All of them."""
        return tuple(one for board in self.boards for one in board.verdicts)

    @property
    def regressed(self) -> bool:
        """Is something worse, or did something fail?"""
        return any(one.verdict in (WORSE, FAILED) for one in self.verdicts)

    @property
    def undecided(self) -> bool:
        """Is there something that cannot be told, or has no baseline?"""
        return bool(self.absent) or any(one.verdict == CANNOT_TELL for one in self.verdicts)


def settled(boards: Iterable[CheckedBoard]) -> bool:
    """Whether further seeds are of no use: something is worse or failed, or nothing is open."""
    found = [one.verdict for board in boards for one in board.verdicts]
    return WORSE in found or FAILED in found or CANNOT_TELL not in found


def judge(baseline: Baseline, fresh: pd.DataFrame, *, metric: str, weight: float = 1.0) -> tuple[CheckedBoard, ...]:
    """Verdicts on the fresh rows, board by board.

    Variances are not borrowed across boards, and each board has its part of the error that is allowed. A method changed
    nothing where the hashes and the score are equal for every seed that both sides have.

    Args:
        baseline: as `comparable` gives it.
        fresh: rows of the same cells, as `bench.load` gives them.
        metric: the score that decides.
        weight: this look's share of the error that is allowed.
    """
    boards: dict[tuple[str, str], list[Job]] = {}
    for job in baseline.jobs:
        boards.setdefault((job.digests.dataset, job.digests.backbone), []).append(job)
    return tuple(_judged(jobs, baseline.rows, fresh, metric, weight / len(boards)) for jobs in boards.values())


def _judged(jobs: Sequence[Job], before: pd.DataFrame, after: pd.DataFrame, metric: str, weight: float) -> CheckedBoard:
    old, new = (_scores(rows, jobs, metric) for rows in (before, after))
    both = [seed for seed in new.seeds if seed in old.seeds]
    shared = [old.seeds.index(seed) for seed in both], [new.seeds.index(seed) for seed in both]
    equal = _equal(before, after, jobs, [metric])
    bits, order = (_equal(before, after, jobs, names) & equal for names in (BITS, ORDER))
    found = gate(old.values, new.values, shared=shared, same_bits=bits, same_order=order, weight=weight)
    failures = [_failure(job, before, after, metric) for job in jobs]
    methods = tuple(
        _verdict(_runs(job, old.values[at], new.values[at], shared if by_seed else None), found, at, failures[at])
        for at, (job, by_seed) in enumerate(zip(jobs, bits | order | found.paired, strict=True))
    )
    mean = _verdict(_mean(methods), found, len(methods), "")
    return CheckedBoard(jobs[0].dataset.label, jobs[0].backbone.label, methods, mean, bool(found.paired))


def _scores(rows: pd.DataFrame, jobs: Sequence[Job], metric: str) -> Side:
    cells = [job.cell for job in jobs]
    own = rows[rows["cell"].isin(cells)].reindex(columns=["cell", "seed", "status", metric])
    found = own[metric].where(own["status"] == "done").astype(float)
    table = own.assign(score=found).set_index(["cell", "seed"])["score"].unstack().reindex(cells)
    return Side(table.to_numpy(np.float64), [int(seed) for seed in table.columns])


def _equal(before: pd.DataFrame, after: pd.DataFrame, jobs: Sequence[Job], columns: Sequence[str]) -> NDArray[np.bool_]:
    """[m]: whether these columns are there and equal in every seed that the baseline has a score of, and one is."""
    same, known = [], before[before["status"] == "done"]
    for job in jobs:
        sides = [_values(rows[rows["cell"] == job.cell], columns) for rows in (known, after)]
        seeds = sides[0].keys() & sides[1].keys()
        same.append(bool(seeds) and all(_known(sides[0][seed]) and sides[0][seed] == sides[1][seed] for seed in seeds))
    return np.array(same, bool)


def _values(rows: pd.DataFrame, columns: Sequence[str]) -> dict[int, tuple[Any, ...]]:
    found = rows.reindex(columns=list(columns)).itertuples(index=False, name=None)
    return dict(zip(rows["seed"], found, strict=True))


def _known(values: tuple[Any, ...]) -> bool:
    return not any(pd.isna(value) for value in values)


def _runs(job: Job, old: Numbers, new: Numbers, shared: tuple[list[int], list[int]] | None) -> dict[str, Any]:
    """What a verdict says of the runs: means over the `shared` seeds, or over all that either side has."""
    seeds = tuple(int(np.isfinite(side).sum()) for side in (old, new))
    if shared is not None:
        pairs = np.stack([old[shared[0]], new[shared[1]]])
        old, new = pairs[:, np.isfinite(pairs).all(axis=0)]
    means = [float(np.mean(side[np.isfinite(side)])) if np.isfinite(side).any() else np.nan for side in (old, new)]
    return {"label": job.objective.label, "cell": job.cell, "seeds": seeds, "baseline": means[0], "fresh": means[1]}


def _mean(methods: Sequence[Verdict]) -> dict[str, Any]:
    """The same of the mean of all."""
    seeds = min(one.seeds[0] for one in methods), min(one.seeds[1] for one in methods)
    means = {side: float(np.mean([getattr(one, side) for one in methods])) for side in ("baseline", "fresh")}
    return {"label": MEAN, "cell": "", "seeds": seeds, **means}


def _failure(job: Job, before: pd.DataFrame, after: pd.DataFrame, metric: str) -> str:
    """Why a fresh run that ought to have a score has none, in a sentence; empty where all have."""
    without = set(before.loc[(before["cell"] == job.cell) & (before["status"] != "done"), "seed"])
    own = after[(after["cell"] == job.cell) & ~after["seed"].isin(without)].sort_values("seed")
    for row in own.to_dict("records"):
        if row["status"] != "done":
            return f"seed {row['seed']} {row['status']}: {row['reason']}"
        if pd.isna(row.get(metric)):
            return f"seed {row['seed']} has no score {metric}"
    return "" if len(own) or without else "it was not run"


def _verdict(line: dict[str, Any], found: Gate, at: int, failure: str) -> Verdict:
    numbers: dict[str, Any] = {name: float(getattr(found, name)[at]) for name in ("drop", "upper", "p", "seen")}
    reason = failure or str(found.reason[at])
    return Verdict(**line, **numbers, verdict=FAILED if failure else str(found.verdict[at]), reason=reason)
