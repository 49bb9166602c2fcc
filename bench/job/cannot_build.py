"""What cannot be built as it is asked for, found before anything trains."""

from collections.abc import Sequence
from pathlib import Path

import torch

from bench import datasets
from bench.datasets.held_out import folds
from bench.job.built import NoTrunk
from bench.job.features import Features, probe
from bench.job.fit import build
from bench.matrix.catalogue import Entry, entries, find
from bench.matrix.job import TRAINED, Job
from bench.matrix.plugin_file import PluginError
from bench.scoring.plugin_metric import trial
from losses.shape import Unsuitable

__all__ = ["refusals"]


def refusals(jobs: Sequence[Job], data: Path | None) -> list[str]:
    """Why backbones and objectives cannot be built as asked, one sentence each; builds all, trains nothing.

    Only wrong values count: what does not suit the dataset is skipped when its turn comes, and what breaks in another
    way becomes a failed row with its traceback.
    """
    if missing := _unimportable(jobs):
        return missing
    found: dict[tuple[str, str], list[str]] = {}
    broken: dict[tuple[str, str, int | None], NoTrunk] = {}
    probed: dict[tuple[str, str, int | None], Features] = {}
    trained = [job for job in jobs if job.kind in TRAINED]
    for job in {(j.dataset.label, j.backbone.label, j.objective.label): j for j in trained}.values():
        trunk = (job.dataset.label, job.backbone.label, job.recipe.crop)
        try:
            if trunk in broken:  # weights that cannot be downloaded are waited for once, not for every objective
                raise broken[trunk]
            if job.backbone.parameters.get("frozen") and trunk not in probed:
                probed[trunk] = probe(job, datasets.load(job.dataset, data))
            _build(job, data, probed.get(trunk))
        except Exception as error:
            if isinstance(error, NoTrunk):
                broken[trunk] = error
            if isinstance(error, ValueError) and not isinstance(error, Unsuitable):
                found.setdefault((job.backbone.label, str(error)), []).append(job.objective.label)
    return [f"{_first_of(labels)} on {backbone}: {why}" for (backbone, why), labels in found.items()]


def _build(job: Job, data: Path | None, frozen: Features | None) -> None:
    """Build what a job trains, of a frozen trunk what stands on it, and forget it."""
    split = datasets.load(job.dataset, data)
    fold = folds(split.train.labels, job.recipe.validation, seed=job.seed)[0]
    seen, widths = (frozen.split, frozen.widths) if frozen else (split, ())
    build(job, seen, fold, seed=job.seed, device=torch.device("cpu"), widths=widths)


def _unimportable(jobs: Sequence[Job]) -> list[str]:
    """Why plugins cannot be imported, one sentence each: also of what is not built to train."""
    kinds = {"loss": "losses", "ensemble": "ensembles", "model_ensemble": "model_ensembles"}
    kinds |= {"student": "students", "floor": "floors"}
    parts = {(kinds[job.kind], job.objective.name) for job in jobs} | {("backbones", job.backbone.name) for job in jobs}
    parts |= {("metrics", name) for name in entries("metrics")}
    found = []
    for entry in (find(kind, name) for kind, name in sorted(parts)):
        try:
            if entry.plugin:
                (trial if entry.kind == "metrics" else Entry.function)(entry)
        except PluginError as error:
            found.append(str(error))
    return list(dict.fromkeys(found))


def _first_of(labels: Sequence[str]) -> str:
    """The first label, and how many others there are: a trunk that does not fit concerns every objective."""
    others = len(dict.fromkeys(labels)) - 1
    return f"{labels[0]} and {others} more" if others else labels[0]
