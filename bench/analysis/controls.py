"""What an ensemble is held against: its best member at the ensemble's size, and trained for as long as it cost.

An ensemble's gain may be the gain of more numbers per image, or of more training. So for every ensemble, and every
seed, the best member, chosen on the other seeds, is trained anew at the ensemble's total size and for as many epochs
as all its members took; and the ensemble is reduced to that member's size. These are jobs like any other.

A member alone is the job with the same dataset, backbone and objective: under the recipe that the ensemble gives its
members, else under the usual recipe there, else under the only other one; a control only where nothing else is.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from bench.matrix.job import TRAINED, Job, Part
from bench.stats.choice import best_elsewhere

__all__ = [
    "Alone",
    "Measured",
    "Opponents",
    "Trained",
    "alone",
    "chosen",
    "controls",
    "epochs",
    "measured",
    "needs",
    "opponents",
    "reduced",
    "trained",
    "waiting",
]

REDUCTION = "pca"
"""The model ensemble that reduces an ensemble to a member's size."""
SETTLED = ("done", "diverged")


class Measured(NamedTuple):
    """What is stored of one job that ended well."""

    recall: float
    """Recall@1."""
    dim: int
    """Numbers per image; 0 where there are none, as in a fusion of ranks."""


class Opponents(NamedTuple):
    """As what an ensemble and its best member are compared: as they are, or as jobs that are trained for this."""

    reduced: Job | None
    """The ensemble at the member's size: itself where the sizes agree, None where it is the smaller one."""
    grown: Job | None
    """The member at the ensemble's size: itself where the sizes agree, None where its size cannot be chosen."""
    longer: Job
    """The member trained for as many epochs as all members together: itself where these agree."""


Alone = Mapping[str, Mapping[int, Job]]
"""Digest of a member -> seed -> the job that trains it alone; no seeds where there is no such job."""


class Trained(NamedTuple):
    """Jobs that train something, found by what they train and where."""

    jobs: Mapping[tuple[str, str, str], Sequence[Job]]
    """By the digests of dataset, backbone and objective."""
    usual: Mapping[tuple[str, str], str]
    """The most common recipe (JSON) of a dataset and backbone; of equally common ones the first as text."""


def controls(jobs: Sequence[Job], rows: pd.DataFrame) -> tuple[Job, ...]:
    """The jobs that the ensembles among `jobs` are held against, as far as stored `rows` allow to choose them."""
    cells, known, found = measured(rows), {job.key for job in jobs}, trained(jobs)
    wanted = [control for job in jobs if job.objective.members for control in chosen(job, found, cells)]
    return tuple({job.key: job for job in wanted if job.key not in known}.values())


def chosen(job: Job, jobs: Trained, cells: Mapping[str, Measured]) -> list[Job]:
    """The jobs that one ensemble is held against, itself or other jobs of the matrix among them; none before `needs`.

    Args:
        job: the ensemble.
        jobs: what `alone` looks in.
        cells: what is measured, by key.
    """
    best = _best(alone(job, jobs), job.seed, cells)
    if best is None or job.key not in cells:
        return []
    return [one for one in opponents(job, best, cells[job.key].dim, cells[best.key].dim) if one]


def _best(members: Alone, seed: int, cells: Mapping[str, Measured]) -> Job | None:
    """The member, trained alone with this seed, that is best over the other seeds."""
    scores = {
        member: {other: cells[job.key].recall for other, job in found.items() if job.key in cells}
        for member, found in members.items()
    }
    name = best_elsewhere(scores, seed)
    best = members[name].get(seed) if name is not None else None
    return best if best and best.key in cells else None


def needs(job: Job, jobs: Trained) -> frozenset[str]:
    """Keys of the jobs that must have a final outcome before the controls of the ensemble `job` can be chosen.

    These are the job itself and every job that trains one of its members alone, with any seed. Empty where it has no
    controls: it is no ensemble, a member is not trained alone, or there is no other seed to choose the best member by.
    """
    members = alone(job, jobs)
    if not members or not set.intersection(*map(set, members.values())) - {job.seed}:
        return frozenset()
    return frozenset({job.key, *(other.key for found in members.values() for other in found.values())})


def waiting(jobs: Sequence[Job], rows: pd.DataFrame) -> int:
    """How many ensembles could be held against controls once more of `jobs` are done."""
    settled = set(rows.loc[rows["status"].isin(SETTLED), "key"])
    found = trained(jobs)
    return sum(not needs(job, found) <= settled for job in jobs)


def measured(rows: pd.DataFrame) -> dict[str, Measured]:
    """By key, the finished jobs among `rows` that have a Recall@1."""
    done = rows[rows["status"] == "done"]
    if done.empty or "recall_at_1" not in done:
        return {}
    known = done[done["recall_at_1"].notna()]
    dims = known["embedding_dim"].fillna(0).astype(int)
    columns = zip(known["key"], known["recall_at_1"].astype(float), dims, strict=True)
    return {key: Measured(recall, dim) for key, recall, dim in columns}


def trained(jobs: Iterable[Job]) -> Trained:
    """What `alone` looks in: the jobs that train something, by dataset, backbone and objective."""
    found: defaultdict[tuple[str, str, str], list[Job]] = defaultdict(list)
    counts: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for job in jobs:
        if job.kind in TRAINED:
            found[job.digests].append(job)
            counts[job.digests[:2]].update([] if job.control else [job.recipe.as_json])
    return Trained(found, {place: _most_common(recipes) for place, recipes in counts.items()})


def _most_common(recipes: Counter[str]) -> str:
    return min(recipes, key=lambda text: (-recipes[text], text), default="")


def alone(job: Job, jobs: Trained) -> Alone:
    """For every member of an ensemble, the jobs that train it alone."""
    place = job.digests[:2]
    return {
        part.digest: _under([*_recipes(job, part), jobs.usual.get(place, "")], jobs.jobs.get((*place, part.digest), ()))
        for part in job.objective.members
    }


def _recipes(job: Job, member: Part) -> list[str]:
    """The recipes under which an ensemble trains a member."""
    own = [one for one in job.members if one.digests.objective == member.digest] or [job]
    return list(dict.fromkeys(one.recipe.as_json for one in own))


def _under(recipes: Sequence[str], jobs: Sequence[Job]) -> Mapping[int, Job]:
    """By seed the jobs of one objective under the first of these recipes that there is, else under the only other."""
    own = recipes[0]
    plain = [job for job in jobs if not job.control] or jobs
    # An untrained network is no member, unless the ensemble is untrained too.
    there = {job.recipe.as_json: None for job in plain if job.recipe.epochs or job.recipe.as_json == own}
    only = next(iter(there)) if len(there) == 1 else None
    chosen = next((text for text in recipes if text in there), only)
    return {job.seed: job for job in plain if job.recipe.as_json == chosen}


def opponents(job: Job, best: Job, size: int, width: int) -> Opponents:
    """What an ensemble is held against as, once its best member is known.

    Args:
        job: the ensemble.
        best: its best member alone.
        size: numbers per image of the ensemble, 0 where it has none.
        width: numbers per image of the member.
    """
    smaller = job if size == width else reduced(job, width) if size > width else None
    return Opponents(smaller, _grown(best, size, width), _again(best, epochs=epochs(job)))


def epochs(job: Job) -> int:
    """Of training: its own, a model ensemble's those of all its members, a student's both."""
    own = job.recipe.epochs if job.kind in TRAINED else 0
    return own + sum(member.recipe.epochs for member in job.members)


def reduced(job: Job, dim: int) -> Job:
    """The control that reduces an ensemble to so many numbers per image."""
    label = f"{REDUCTION}[{job.objective.label}](dim={dim})"
    part = Part(name=REDUCTION, parameters={"dim": dim}, members=(job.objective,), label=label)
    return job.changed(objective=part, kind="model_ensemble", members=(job,), control=True)


def _grown(best: Job, size: int, width: int) -> Job | None:
    if size == width:
        return best
    free = best.recipe.dim == width and best.backbone.parameters.get("head") == "linear"
    return _again(best, dim=size) if size and free else None


def _again(job: Job, **changes: Any) -> Job:
    """The same job under another recipe."""
    recipe = job.recipe.model_copy(update=changes)
    return job if recipe == job.recipe else job.changed(recipe=recipe, control=True)
