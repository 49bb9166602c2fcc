"""One job, from its description to its result."""

import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bench import datasets, store
from bench.datasets.held_out import folds
from bench.datasets.split import Split
from bench.job import provenance
from bench.job.epoch_choice import selection
from bench.job.fit import Fitted, build, fit, pictures
from bench.job.fusion import Stored
from bench.matrix.catalogue import find
from bench.matrix.job import TRAINED, Job
from bench.matrix.seeds import derive
from bench.scoring.evaluation import Evaluation, score, score_order
from bench.store.row import Provenance, Result, Row, failure
from losses.shape import Unsuitable

__all__ = ["refusals", "run"]


def run(
    job: Job,
    *,
    data: Path | None,
    results: Path,
    device: torch.device,
    progress: Callable[[int], None] = lambda _epoch: None,
) -> Result:
    """Train and evaluate one job, or fuse the stored embeddings of its members.

    Args:
        job: from an expanded matrix.
        data: the folder that holds one folder a dataset.
        results: where a model ensemble finds its members.
        device: what trains.
        progress: told the number of epochs done.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    provenance.reset_peak_memory(device)
    split = datasets.load(job.dataset, data)
    try:
        match job.kind:
            case "model_ensemble":
                result = _fuse(job, split, results)
            case "floor":
                result = _floor(job, split)
            case _:
                result = _train(job, split, device, progress)
    except Unsuitable as reason:
        result = failure(job, "skipped", str(reason))
    cost = {
        "started": started.isoformat(timespec="seconds"),
        "seconds": time.perf_counter() - clock,
        "peak_memory_mb": provenance.peak_memory_mb(device),
        **provenance.contamination(job, split),
        "provenance": provenance.provenance(device, split.sha, result.row.provenance.weights_sha),
    }
    return result._replace(row=result.row.model_copy(update=cost))


def refusals(jobs: Sequence[Job], data: Path | None) -> list[str]:
    """Why backbones and objectives cannot be built as asked, one sentence each; builds all, trains nothing.

    Only wrong values count: what does not suit the dataset is skipped when its turn comes, and what breaks in another
    way becomes a failed row with its traceback.
    """
    found: dict[str, None] = {}
    trained = [job for job in jobs if job.kind in TRAINED]
    for job in {(j.dataset.label, j.backbone.label, j.objective.label): j for j in trained}.values():
        try:
            split = datasets.load(job.dataset, data)
            fold = folds(split.train.labels, job.recipe.validation, seed=job.seed)[0]
            build(job, split, fold, seed=job.seed, device=torch.device("cpu"))
        except Exception as error:
            if isinstance(error, ValueError) and not isinstance(error, Unsuitable):
                found[f"{job.objective.label} on {job.backbone.label}: {error}"] = None
    return list(found)


def _train(job: Job, split: Split, device: torch.device, progress: Callable[[int], None]) -> Result:
    """One model, or one for each fold of the training classes, whose embeddings then stand side by side."""
    images = pictures(split, device)
    fits: list[Fitted] = []
    for number, fold in enumerate(folds(split.train.labels, job.recipe.validation, seed=job.seed)):
        seed = job.seed if number == 0 else derive(job.seed, f"model {number}")
        done = partial(_told, progress, number * job.recipe.epochs)
        fits.append(fit(job, split, fold, images=images, seed=seed, device=device, progress=done))
        if _diverged(fits[-1]):
            break
    clock = time.perf_counter()
    history = tuple({"model": number, **epoch} for number, one in enumerate(fits) for epoch in one.history)
    evaluated = _evaluate(job, split, _together([one.snapshot.embeddings for one in fits]), fits)
    seconds = sum(epoch["seconds"] for epoch in history)
    cost = {
        "seconds_train": seconds,
        "seconds_evaluate": time.perf_counter() - clock,
        "images_per_second": sum(epoch["images"] for epoch in history) / seconds if history else None,
        "parameters": sum(one.parameters for one in fits),
        "epoch": tuple(one.snapshot.epoch for one in fits),
        "provenance": Provenance(weights_sha=fits[0].weights_sha),
    }
    return evaluated._replace(
        row=evaluated.row.model_copy(update=cost),
        history=history,
        members=tuple(entry._replace(model=number) for number, one in enumerate(fits) for entry in one.members),
        training=_together([one.snapshot.training for one in fits]).cpu().numpy(),
    )


def _told(progress: Callable[[int], None], before: int, epoch: int) -> None:
    progress(before + epoch)


def _together(embeddings: Sequence[Tensor]) -> Tensor:
    """Embeddings [N, dim] of several models side by side, each L2-normalised; of one as they are."""
    if len(embeddings) == 1:
        return embeddings[0]
    return F.normalize(torch.cat([F.normalize(one) for one in embeddings], 1))


def _floor(job: Job, split: Split) -> Result:
    """What needs no learning; its embeddings are not stored, as they can be made again at once."""
    embeddings = find("floors", job.objective.name).function()(split, **job.objective.parameters)
    return _evaluate(job, split, torch.from_numpy(embeddings), [])._replace(embeddings=None)


def _fuse(job: Job, split: Split, results: Path) -> Result:
    """A model ensemble from what its members stored."""
    members = [_stored(member, split, results) for member in job.members]
    try:
        fused = find("model_ensembles", job.objective.name).function()(members, **job.objective.parameters)
    except ValueError as reason:
        raise Unsuitable(str(reason)) from reason
    if not isinstance(fused, Stored):
        evaluated = score_order(
            fused,
            split.test.labels,
            gallery_labels=split.gallery.labels if split.gallery else None,
            ks=job.recipe.recall_at,
        )
        return _result(job, evaluated)
    parts = [fused.queries] + ([fused.gallery] if fused.gallery is not None else [])
    return _evaluate(job, split, torch.from_numpy(np.concatenate(parts)), [])._replace(training=fused.training)


def _stored(job: Job, split: Split, results: Path) -> Stored:
    """What a member left behind.

    Raises:
        Unsuitable: it failed, diverged or was skipped.
    """
    try:
        embeddings = store.embeddings(results, job.key)
    except FileNotFoundError:
        raise Unsuitable(f"its member {job.objective.label!r} has no embeddings: it failed or diverged") from None
    try:
        training = store.training(results, job.key)
    except FileNotFoundError:
        training = None
    count = len(split.test.labels)
    return Stored(embeddings[:count], embeddings[count:] if split.gallery else None, training)


def _evaluate(job: Job, split: Split, embeddings: Tensor, fits: Sequence[Fitted]) -> Result:
    if not torch.isfinite(embeddings).all() or (fits and _diverged(fits[-1])):
        epoch = len(fits[-1].history) if fits else 0
        reason = f"the loss or the embeddings were not finite in epoch {epoch} of {job.recipe.epochs}"
        return Result(Row.of(job, "diverged", reason=reason))
    queries, gallery = embeddings[: len(split.test.labels)], embeddings[len(split.test.labels) :]
    evaluated = score(
        queries,
        split.test.labels,
        gallery=gallery if split.gallery else None,
        gallery_labels=split.gallery.labels if split.gallery else None,
        ks=job.recipe.recall_at,
        restarts=job.recipe.restarts,
        seed=derive(job.seed, "k-means"),
    )
    evaluated.scores.update(selection([(one.history, one.snapshot.epoch) for one in fits]))
    return _result(job, evaluated, embeddings=embeddings.cpu().numpy())


def _diverged(one: Fitted) -> bool:
    return bool(one.history) and not all(math.isfinite(value) for value in one.history[-1].values())


def _result(job: Job, evaluated: Evaluation, **rest: Any) -> Result:
    known = {name: value if math.isfinite(value) else None for name, value in evaluated.scores.items()}
    row = Row.of(job, "done", scores=known)
    if (embeddings := rest.get("embeddings")) is not None:
        row = row.model_copy(update={"embedding_dim": embeddings.shape[1]})
    return Result(row, queries=evaluated.queries, **rest)
