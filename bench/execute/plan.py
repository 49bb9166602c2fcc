"""What a matrix would do: its cells, and how long it may take."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from bench.datasets.held_out import folds
from bench.datasets.split import Split
from bench.execute.data_check import asks
from bench.matrix.job import TRAINED, Job
from bench.store.folder import TRAINING
from bench.store.row import Status

__all__ = [
    "Forecast",
    "counts",
    "forecast",
    "without_embeddings",
    "without_result",
]

FINAL = ("done", "diverged")
"""Outcomes that the same job would reach again; other cells are run again."""


class Forecast(NamedTuple):
    """What the cells without a result are likely to cost."""

    seconds: float | None
    """Of one worker's time; None while no job of the same dataset and backbone was measured."""
    bytes: int
    """Stored embeddings."""


class _Pace(NamedTuple):
    """How fast jobs of one dataset and backbone were; medians."""

    images_per_second: float
    """While training."""
    seconds_beside: float
    """Of a job, beside its training."""


def without_result(jobs: Sequence[Job], statuses: Mapping[str, Status]) -> list[Job]:
    """The jobs without a final outcome."""
    return [job for job in jobs if statuses.get(job.key) not in FINAL]


def without_embeddings(
    jobs: Sequence[Job], statuses: Mapping[str, Status], kept: Callable[[str], bool]
) -> dict[str, Job]:
    """By key the members of these jobs that are done, but whose embeddings are not `kept`: they are trained again."""
    members = {one.key: one for job in jobs for one in job.members if statuses.get(one.key) == "done"}
    return {key: one for key, one in members.items() if not kept(key)}


def forecast(jobs: Sequence[Job], splits: Mapping[str, Split], rows: pd.DataFrame) -> Forecast:
    """Time and disk of these jobs, judged by what the same dataset and backbone took before.

    Args:
        jobs: those without a result.
        splits: by dataset label.
        rows: stored rows, maybe none.
    """
    trained, paces = [job for job in jobs if job.kind in TRAINED], _paces(rows)
    images = {asks: _drawn(job, splits[job.dataset.label]) for asks, job in {asks(job): job for job in trained}.items()}
    known = [
        images[asks(job)] / pace.images_per_second + pace.seconds_beside
        for job in trained
        if (pace := paces.get((job.dataset.label, job.backbone.label)))
    ]
    total = sum(known) if len(known) == len(trained) else None
    return Forecast(total, sum(_bytes(job, splits[job.dataset.label]) for job in jobs))


def _bytes(job: Job, split: Split) -> int:
    """Of the embeddings of queries, gallery and training images, float32; a model ensemble's stand side by side."""
    images = len(split.test.labels) + (len(split.gallery.labels) if split.gallery else 0)
    images += min(TRAINING, len(split.train.labels))
    together = 1 if job.kind in TRAINED else len(job.members)
    return 4 * images * job.recipe.dim * job.recipe.models * together


def _paces(rows: pd.DataFrame) -> dict[tuple[str, str], _Pace]:
    """By labels of a dataset and a backbone, where a finished job says how fast it was."""
    if rows.empty:
        return {}
    done = rows[(rows["status"] == "done") & rows["images_per_second"].notna()]
    beside = done["seconds"] - done["seconds_train"]
    found = done.assign(beside=beside).groupby(["dataset", "backbone"])[["images_per_second", "beside"]].median()
    return {place: _Pace(*map(float, medians)) for place, medians in zip(found.index, found.to_numpy(), strict=True)}


def _drawn(job: Job, split: Split) -> int:
    """How many images a job is trained on, each as often as it is drawn."""
    parts = folds(split.train.labels, job.recipe.validation, seed=job.seed)
    drawn = [len(fold.labels) - len(fold.held_out) for fold in parts]
    return sum(min(count, job.recipe.images_per_epoch or count) for count in drawn) * job.recipe.epochs


def counts(jobs: Sequence[Job], statuses: Mapping[str, Status]) -> Counter[str]:
    """How many cells are done, failed, diverged, skipped, and new."""
    return Counter(statuses.get(job.key, "new") for job in jobs)
