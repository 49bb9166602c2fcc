"""Whether the data suits what is asked of it, looked at before anything runs: each refusal is one sentence."""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bench import datasets
from bench.datasets.held_out import folds
from bench.datasets.split import DataError, Images, Split, are_vectors
from bench.matrix.catalogue import did_you_mean, find
from bench.matrix.frozen_backbones import of_vectors
from bench.matrix.job import TRAINED, ConfigError, Job, Part
from bench.matrix.recipe import Recipe

__all__ = ["asks", "check", "check_same_data", "unsuited"]


def check(jobs: Sequence[Job], data: Path | None) -> dict[str, Split]:
    """Load every dataset and compare it with what the recipe asks of it; split by dataset label.

    Raises:
        ConfigError: missing or broken data, batches that cannot be drawn, models or weights that timm does not have;
            one sentence each.
    """
    problems: dict[str, None] = {}
    splits = {}
    for job in {job.dataset.label: job for job in jobs}.values():
        try:
            splits[job.dataset.label] = datasets.load(job.dataset, data)
        except DataError as error:
            problems[str(error)] = None
    unlike: dict[Hashable, Job] = {}
    for job in jobs:
        unlike.setdefault(asks(job), job)
    for job in unlike.values():
        if job.dataset.label in splits and (sentence := _unfit(job, splits[job.dataset.label])):
            problems[sentence] = None
    problems |= dict.fromkeys(_unknown_models(job.backbone for job in unlike.values()))
    if problems:
        raise ConfigError("\n".join(problems))
    return splits


def check_same_data(jobs: Sequence[Job], splits: Mapping[str, Split], rows: pd.DataFrame) -> None:
    """See that stored rows of these jobs were measured on the data that is there now.

    Raises:
        ConfigError: a dataset has changed since.
    """
    stored = dict(zip(rows["key"], rows["dataset_sha"], strict=True))
    now = {job.key: splits[job.dataset.label].sha for job in jobs}
    other = [job for job in jobs if isinstance(stored.get(job.key), str) and stored[job.key] != now[job.key]]
    if other:
        names = ", ".join(sorted({job.dataset.label for job in other}))
        raise ConfigError(f"{names}: {len(other)} stored rows are of other data; name another folder with --results")


def asks(job: Job) -> Hashable:
    """What a job asks of the images: equal for most of those that differ in the objective or the seed alone."""
    return job.dataset.label, job.digests.backbone, job.recipe.as_json, job.recipe.validation and job.seed


def _unfit(job: Job, split: Split) -> str | None:
    """Why these images do not suit the backbone or the batches, or nothing can be told from those held out."""
    return _unfit_images(job, split) or _unfit_classes(job, split.train)


def _unfit_images(job: Job, split: Split) -> str | None:
    label, crop, vectors = job.dataset.label, job.recipe.crop, are_vectors(split)
    if vectors and not of_vectors(job.backbone):
        return f'{label}: embeddings are not pictures: set backbones = ["identity"]'
    if not vectors and of_vectors(job.backbone):
        return (
            f"{label}: the backbone {job.backbone.name} takes stored embeddings, and these are pictures: choose "
            "another backbone"
        )
    if crop is None:
        return None
    if vectors:
        return f"{label}: crop = {crop} cuts pictures, and these are embeddings: remove recipe.crop"
    have = min(split.train.images.shape[1:3])
    if crop > have:
        return (
            f"{label}: crop = {crop} is larger than the pictures, {have} pixels: add --set recipe.crop={have}, "
            "or a larger size of the dataset"
        )
    return None


def _unfit_classes(job: Job, train: Images) -> str | None:
    recipe, label = job.recipe, job.dataset.label
    sizes = np.bincount(train.labels, minlength=len(train.classes))
    if recipe.images_per_class > 1 and sizes.min() < 2:
        lone = train.classes[sizes.argmin()]
        return f"{label}: the class {lone!r} has a single image, so no pair to learn from: remove it, or add an image"
    parted = folds(train.labels, recipe.validation, seed=job.seed)
    fewest = min(len(fold.classes) for fold in parted)
    if recipe.classes_per_batch > fewest:
        return (
            f"{label}: a batch needs {recipe.classes_per_batch} classes; only {fewest} are for training: "
            f"add --set recipe.classes_per_batch={fewest}"
        )
    if recipe.validation and max(len(fold.classes) for fold in parted) > len(sizes) - 2:
        return f"{label}: fewer than two classes are held out of {len(sizes)}: {_more_held_out(recipe, len(sizes))}"
    return None


def _more_held_out(recipe: Recipe, classes: int) -> str:
    """How to hold out two classes at least."""
    if classes < 4:
        return "add classes, or remove recipe.validation; a search needs four classes"
    if recipe.validation and recipe.validation.folds:
        return f"add --set recipe.validation.folds={classes // 2} or fewer"
    return f"add --set recipe.validation.share={math.ceil(200 / classes) / 100} or more"


def _unknown_models(backbones: Iterable[Part]) -> list[str]:
    """What timm does not have: models, weights of that tag, or any weights of a model that is to be pretrained."""
    asked = {(p.name.partition("/")[2], bool(p.parameters.get("pretrained"))) for p in backbones if "/" in p.name}
    if not asked:
        return []
    import timm

    models, problems = timm.list_models(), []
    for name, pretrained in sorted(asked):
        stem, dot, _ = name.partition(".")
        if stem not in models:
            problems.append(f"timm has no model {name!r}{did_you_mean(name, models)}")
        elif dot and name not in (tagged := timm.list_pretrained(f"{stem}.*")):
            problems.append(f"timm has no weights {name!r}{did_you_mean(name, tagged)}")
        elif pretrained and not timm.is_model_pretrained(name):
            problems.append(f"timm has no weights of {name!r}: remove pretrained = true, or choose another model")
    return problems


def unsuited(job: Job, split: Split) -> str | None:
    """Why a job will be skipped, as far as that can be known without building it: it needs pictures, or texts."""
    if job.kind == "floor" and job.objective.name == "pixels" and are_vectors(split):
        return f"pixels needs pictures, and {job.dataset.label} has stored embeddings"
    if split.train.texts is not None:
        return None
    for one in job.members or (job,):
        if one.kind in TRAINED and (name := _comparing_with_text(one.objective)):
            return f"{name} needs a text for each class, and {job.dataset.label} has none"
    return None


def _comparing_with_text(part: Part) -> str | None:
    """The name of a loss, or of a member of an ensemble, that looks at the texts of classes."""
    if "text" in find("ensembles" if part.members else "losses", part.name).needs:
        return part.name
    return next(filter(None, map(_comparing_with_text, part.members)), None)
