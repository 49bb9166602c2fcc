"""The jobs of rows stored before a row knew its job: those of the project's matrices, proven by their keys."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import pandas as pd

from bench.analysis.controls import reduced
from bench.matrix.expand import expand
from bench.matrix.file import load, matrices
from bench.matrix.job import Job
from bench.matrix.recipe import Recipe, complete

__all__ = ["older_jobs", "with_jobs"]

READING = ("interpolation", "fill")
"""Fields of the recipe that a matrix of the project has changed since rows without their jobs were stored."""

SEEDS = 100
"""Seeds of such rows are below this, or they are not the project's: a stranger's may be any number."""
Known = Mapping[tuple[Any, ...], Sequence[Job]]
"""Labels of dataset, backbone and objective, and the seed -> jobs."""


def with_jobs(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` (as `bench.load` gives them) with the job and cell of those whose job is found by `older_jobs`."""
    found = older_jobs(rows)
    if not found:
        return rows
    jobs = rows["key"].map({key: job.model_dump_json() for key, job in found.items()})
    cells = rows["key"].map({key: job.cell for key, job in found.items()})
    return rows.assign(job=jobs.where(jobs.notna(), rows["job"]), cell=cells.where(cells.notna(), rows["cell"]))


def older_jobs(rows: pd.DataFrame) -> dict[str, Job]:
    """Key -> job of those `rows` that have none stored and that a matrix of the project explains.

    A row's labels and seed name candidates, its recipe stands in for theirs; a candidate is the job only if it has the
    row's key, which is a hash over all of it. So the answer is right, or there is none.
    """
    lacking = rows[rows["job"].isna()]
    if lacking.empty:
        return {}
    known = _by_labels(tuple(sorted(set(lacking["seed"].astype(int)) & set(range(SEEDS)))))
    found = ((row["key"], job) for row in lacking.to_dict("records") for job in _candidates(row, known))
    return {key: job for key, job in found if job.key == key}


def _candidates(row: Mapping[Any, Any], known: Known) -> Iterator[Job]:
    place = (row["dataset"], row["backbone"], row["seed"])
    try:
        recipe = Recipe.model_validate(complete(json.loads(row["recipe"])))
    except ValueError:  # a recipe that is no longer possible
        return
    same = {"recipe": recipe, "control": row["kind"] == "control", "protocol": row["protocol"]}
    yield from (_then(job, recipe).changed(**same) for job in known.get((*place, row["objective"]), ()))
    if same["control"] and not pd.isna(row["embedding_dim"]):
        ensembles = [job for label in row["members"] for job in known.get((*place, label), ())]
        yield from (reduced(_then(job, recipe), int(row["embedding_dim"])) for job in ensembles)


def _then(job: Job, recipe: Recipe) -> Job:
    """The job with the pictures read as by this recipe, in its members too: a matrix may read them otherwise by now."""
    own = job.recipe.model_copy(update={name: getattr(recipe, name) for name in READING})
    return job.changed(recipe=own, members=tuple(_then(member, recipe) for member in job.members))


@cache
def _by_labels(seeds: tuple[int, ...]) -> Known:
    """The jobs of every matrix of the project with these seeds."""
    found: defaultdict[tuple[Any, ...], list[Job]] = defaultdict(list)
    for name in matrices():
        for job in expand(load(name, [f"seeds={list(seeds)}"])) if seeds else ():
            found[job.dataset.label, job.backbone.label, job.seed, job.objective.label].append(job)
    return found
