"""Is a stored baseline one of what a matrix does now? Its methods are matched by cell; what differs is said by name."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.analysis.differing_settings import flat, part_settings
from bench.analysis.older_jobs import with_jobs
from bench.matrix.job import Job
from bench.store.columns import scores

__all__ = ["Absent", "Baseline", "NotComparable", "comparable"]

UNKNOWN = "the baseline does not have it"
ANOTHER_MATRIX = "it is one of another matrix, and has no method of this one"


class NotComparable(ValueError):
    """Nothing can be said against this baseline; each line is one sentence that says why."""


class Absent(NamedTuple):
    """A method of the matrix that the baseline does not have."""

    label: str
    reason: str
    """Why not, or in what the nearest stored one differs; the end of a sentence."""


class Baseline(NamedTuple):
    """What a matrix can be held against."""

    source: Path
    rows: pd.DataFrame
    """Rows of the matrix's cells: one per cell and seed, with all their outcomes."""
    jobs: tuple[Job, ...]
    """One of each cell that has a score there, in the order of the matrix."""
    absent: tuple[Absent, ...]

    @property
    def single(self) -> bool:
        """Whether no method has two seeds with a score, so that nothing can be called worse."""
        return int(self.rows[self.rows["status"] == "done"].groupby("cell").size().max()) < 2


def comparable(
    rows: pd.DataFrame, jobs: Sequence[Job], *, source: Path, metric: str, data: Mapping[str, str]
) -> Baseline:
    """The part of a baseline that `jobs` can be held against.

    Args:
        rows: of the baseline, as `bench.load` gives them.
        jobs: of the matrix, all seeds.
        source: where the rows are from, for sentences.
        metric: the score that decides.
        data: dataset label -> hash of the data that is there now.

    Raises:
        NotComparable: another protocol, recipe, matrix or version, other data, a score that is missing or no number.
    """
    if rows.empty:
        raise NotComparable(f"{source} has no rows.")
    known = with_jobs(rows).drop_duplicates(["cell", "seed"], keep="last")
    done = known[known["status"] == "done"]
    wanted = {job.cell: job for job in reversed(jobs)}
    common = [job for job in reversed(wanted.values()) if job.cell in set(done["cell"])]
    stored = _stored(known)
    several = len({(job.dataset.label, job.backbone.label) for job in wanted.values()}) > 1
    absent = tuple(
        Absent(_name(job, several=several), _why_absent(job, stored))
        for job in reversed(wanted.values())
        if job.cell not in {one.cell for one in common}
    )
    if not common:
        raise NotComparable("\n".join(f"{source} is not comparable: {why}." for why in _causes(absent)))
    own = known[known["cell"].isin({job.cell for job in common})]
    _check_scores(own[own["status"] == "done"], source, metric)
    _check_data(own, common, source, data)
    return Baseline(source, own, tuple(common), absent)


def _name(job: Job, *, several: bool) -> str:
    place = f" on {job.dataset.label}, {job.backbone.label}" if several else ""
    return f"{job.objective.label}{place}"


def _causes(absent: Iterable[Absent]) -> list[str]:
    """The reasons, each once; that of another matrix only where there is no better one."""
    return list(dict.fromkeys(one.reason for one in absent if one.reason != UNKNOWN)) or [ANOTHER_MATRIX]


def _check_scores(done: pd.DataFrame, source: Path, metric: str) -> None:
    if metric not in done or done[metric].isna().all():
        have = [name for name in scores(list(done.columns)) if done[name].notna().any()]
        raise NotComparable(f"{source} has no score {metric}; it has {', '.join(have) or 'none at all'}.")
    values = done[metric].astype(float)
    bad = done[~np.isfinite(values)]
    if len(bad):
        named = ", ".join(f"{label} seed {seed}" for label, seed in zip(bad["objective"], bad["seed"], strict=True))
        raise NotComparable(f"{source} has a score {metric} that is no number: {named}.")


def _check_data(own: pd.DataFrame, jobs: Sequence[Job], source: Path, data: Mapping[str, str]) -> None:
    labels = {job.cell: job.dataset.label for job in jobs}
    now = own["cell"].map(labels).map(dict(data))
    other = own["dataset_sha"].notna() & (own["dataset_sha"] != now)
    if other.any():
        names = ", ".join(sorted(set(own.loc[other, "cell"].map(labels))))
        raise NotComparable(
            f"{source} is not comparable: it was measured on other data of {names}, whose images or labels have "
            "changed since."
        )


def _stored(rows: pd.DataFrame) -> dict[str, Job | None]:
    """Cell -> the job of a baseline's row; None where this version cannot read it."""
    first = rows.drop_duplicates("cell")
    return {
        cell: Job.stored(text) if isinstance(text, str) else None
        for cell, text in zip(first["cell"], first["job"], strict=True)
    }


def _why_absent(job: Job, stored: Mapping[str, Job | None]) -> str:
    """In what the nearest stored job differs from this one."""
    if not any(stored.values()):
        return "it was stored by another version of bench, whose jobs this version cannot read"
    same = [(cell, one) for cell, one in stored.items() if one and _alike(one, job)]
    if not same:
        return UNKNOWN
    return min((_differences(cell, one, job) for cell, one in same), key=len)


def _alike(one: Job, job: Job) -> bool:
    return (one.kind, one.objective.name, one.member_labels) == (job.kind, job.objective.name, job.member_labels)


def _differences(cell: str, there: Job, job: Job) -> str:
    """What makes two jobs of the same objective different cells; short where it is little."""
    found = [f"protocol {there.protocol} there, {job.protocol} here"] if there.protocol != job.protocol else []
    recipes = [flat(one.recipe.model_dump(mode="json")) for one in (there, job)]
    found += _changes(*recipes, before="recipe.")
    for name in ("dataset", "backbone", "objective"):
        part, other = getattr(there, name), getattr(job, name)
        if part.digest != other.digest:
            found += _changes(part_settings(part), part_settings(other), before=f"{name} ")
    if not found and cell != there.cell:
        return "it was measured by another version of bench, which computed something else for it"
    return "; ".join(found) or "its members differ"


def _changes(there: Mapping[str, str], here: Mapping[str, str], *, before: str) -> list[str]:
    names = [name for name in dict.fromkeys((*there, *here)) if there.get(name) != here.get(name)]
    return [f"{before}{name} is {there.get(name, 'unset')} there, {here.get(name, 'unset')} here" for name in names]
