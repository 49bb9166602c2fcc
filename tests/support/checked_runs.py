"""Runs of a tiny matrix with scores that a test chooses: a baseline, or an executor that trains nothing."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from support.jobs import BACKBONE, DATASET, RECIPE

from bench import datasets, store
from bench.execute.event import Event
from bench.matrix.expand import expand
from bench.matrix.file import Matrix
from bench.matrix.job import Job
from bench.matrix.seeds import derive
from bench.store.row import Provenance, Result, Row, failure

METHODS = {"triplet": 0.70, "contrastive": 0.60, "arc_face": 0.65, "multi_similarity": 0.55}
SD = 0.01

Score = Callable[[Job], float | str | None]
"""What a job scores; a text is the reason why it failed, None a score that is missing."""


def matrix(**changes: Any) -> Matrix:
    base = {"datasets": [DATASET], "backbones": [BACKBONE], "losses": list(METHODS), "controls": False}
    recipe = {**RECIPE, **changes.pop("recipe", {})}
    return Matrix.model_validate({**base, "recipe": recipe, **changes})


def level(job: Job) -> float:
    """The method's level and the noise of this seed."""
    noise = np.random.default_rng([derive(job.seed, job.objective.label) % 2**32]).normal(0, SD)
    return METHODS[job.objective.name] + float(noise)


def lower(drops: Mapping[str, float], *, noise: float = 0.002) -> Score:
    """A changed program: the same seeds stay close to what they were, and some methods drop."""

    def score(job: Job) -> float:
        moved = np.random.default_rng([job.seed, len(job.objective.label)]).normal(0, noise)
        return level(job) - drops.get(job.objective.label, 0.0) + float(moved)

    return score


def result(job: Job, score: float | str | None, bits: str = "a") -> Result:
    """What a job leaves; equal `bits` and scores are equal hashes."""
    if isinstance(score, str):
        return failure(job, "failed", score)
    sha = datasets.load(job.dataset, None).sha
    hashes = {"embeddings_sha": f"{bits}{score}", "first_hits_sha": f"{score}"}
    made = Provenance(dataset_sha=sha, torch="2.11.0", threads=1)
    return Result(Row.of(job, "done", scores={"recall_at_1": score, "map_at_r": 0.5}, provenance=made, **hashes))


def write_baseline(file: Path, score: Score = level, *, seeds: int = 10, **changes: Any) -> Path:
    """A file like one of `bench check --make-baseline`."""
    folder = file.with_suffix("")
    for job in expand(matrix(seeds=seeds, **changes)):
        store.write(folder, result(job, score(job)))
    store.pack(folder, file, queries=False)
    return file


def executor(score: Score, *, bits: str = "a", ran: list[tuple[str, int]] | None = None) -> Any:
    """Takes the place of the local executor: it stores what each job scores."""

    def execute(take, jobs, conditions):
        while (job := take()) is not None:
            yield Event("started", job)
            left = result(job, score(job), bits)
            store.write(conditions.results, left)
            if ran is not None:
                ran.append((job.objective.label, job.seed))
            yield Event(left.row.status, job, reason=left.row.reason)

    return execute
