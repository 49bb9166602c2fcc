"""What an ensemble is held against: its best member at the ensemble's size, and trained for as long as it cost.

An ensemble's gain may be the gain of more numbers an image, or of more training. So for every ensemble, and every
seed, the best member, chosen on the other seeds, is trained anew at the ensemble's total size and for as many epochs
as all its members took; and the ensemble is reduced to that member's size. These are jobs like any other, and the
report finds them among the rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from bench.matrix.job import Job, Part
from bench.stats.intervals import best_elsewhere

__all__ = ["REDUCTION", "controls", "needs", "waiting"]

REDUCTION = "pca"
"""The model ensemble that reduces an ensemble to a member's size."""


class Cell(NamedTuple):
    """What is stored of one job that ended well."""

    recall: float
    dim: int


def controls(jobs: Sequence[Job], rows: pd.DataFrame) -> tuple[Job, ...]:
    """The jobs that the ensembles among `jobs` are held against, as far as stored `rows` allow to choose them."""
    cells = _cells(rows)
    known = {job.key for job in jobs}
    found = {control.key: control for job in jobs if job.objective.members for control in _controls(job, jobs, cells)}
    return tuple(control for key, control in found.items() if key not in known)


def needs(job: Job, jobs: Sequence[Job]) -> frozenset[str]:
    """Keys of the jobs that must have ended before the controls of the ensemble `job` can be chosen."""
    alone = _alone(job, jobs) or {}
    return frozenset({job.key, *(member.key for members in alone.values() for member in members.values())})


def waiting(jobs: Sequence[Job], rows: pd.DataFrame) -> int:
    """How many ensembles could be held against controls once more of `jobs` are done."""
    cells = _cells(rows)
    return sum(
        _alone(job, jobs) is not None and len({other.seed for other in jobs}) > 1 and _best(job, jobs, cells) is None
        for job in jobs
        if job.objective.members
    )


def _cells(rows: pd.DataFrame) -> dict[str, Cell]:
    done = rows[rows["status"] == "done"]
    if done.empty:
        return {}
    columns = (done[name] for name in ("key", "recall_at_1", "embedding_dim"))
    return {
        key: Cell(recall, 0 if pd.isna(dim) else int(dim))
        for key, recall, dim in zip(*columns, strict=True)
        if not pd.isna(recall)
    }


def _controls(job: Job, jobs: Sequence[Job], cells: Mapping[str, Cell]) -> Iterator[Job]:
    best = _best(job, jobs, cells)
    if best is None or job.key not in cells:
        return
    size, width = cells[job.key].dim, cells[best.key].dim
    if size > width:
        yield _reduced(job, width)
    if size not in {width, 0} and best.recipe.dim == width and best.backbone.parameters.get("head") == "linear":
        yield _again(best, dim=size)
    epochs = sum(member.recipe.epochs for member in job.members) if job.members else job.recipe.epochs
    if epochs != best.recipe.epochs:
        yield _again(best, epochs=epochs)


def _best(job: Job, jobs: Sequence[Job], cells: Mapping[str, Cell]) -> Job | None:
    """The member, trained alone with this job's seed, that is best over the other seeds."""
    alone = _alone(job, jobs)
    if alone is None:
        return None
    scores = {
        label: {seed: cells[member.key].recall for seed, member in members.items() if member.key in cells}
        for label, members in alone.items()
    }
    chosen = best_elsewhere(scores, job.seed)
    found = alone[chosen].get(job.seed) if chosen is not None else None
    return found if found is not None and found.key in cells else None


def _alone(job: Job, jobs: Sequence[Job]) -> dict[str, dict[int, Job]] | None:
    """By label and seed, the jobs that train a member of this one alone; None where a member is not among them."""
    labels = dict.fromkeys(part.label for part in job.objective.members)
    found: dict[str, dict[int, Job]] = {label: {} for label in labels}
    for other in jobs:
        same_place = (other.dataset, other.backbone) == (job.dataset, job.backbone)
        if same_place and other.objective.label in found and other.key != job.key:
            found[other.objective.label][other.seed] = other
    return found if all(found.values()) else None


def _reduced(job: Job, dim: int) -> Job:
    label = f"{REDUCTION}[{job.objective.label}](dim={dim})"
    part = Part(name=REDUCTION, parameters={"dim": dim}, members=(job.objective,), label=label)
    return job.changed(objective=part, kind="model_ensemble", members=(job,), control=True)


def _again(job: Job, **changes: Any) -> Job:
    """The same job under another recipe."""
    return job.changed(recipe=job.recipe.model_copy(update=changes), control=True)
