"""One job, from its description to its result."""

import hashlib
import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from bench import datasets, store
from bench.datasets.held_out import folds
from bench.datasets.split import Split, are_vectors, left_out
from bench.job import provenance
from bench.job.checkpoint import UnfitError
from bench.job.epoch_choice import selection
from bench.job.features import Tell, features
from bench.job.fit import fit, pictures
from bench.job.fit_result import Fitted
from bench.job.fusion import InBall, Stored, check_by_angle, side_by_side, training_images
from bench.job.memory_advice import advised
from bench.job.watch import Terms, Watch
from bench.matrix.catalogue import FEATURES, find
from bench.matrix.job import Job
from bench.matrix.seeds import derive
from bench.scoring.evaluation import Evaluation, score, score_order
from bench.store.row import Provenance, Result, Row, Status
from losses.ensembles import Distance
from losses.shape import Unsuitable

__all__ = ["run"]


class Compared(NamedTuple):
    """What a job is judged by: embeddings, or the order that a model ensemble found."""

    embeddings: Tensor | None = None
    """[queries + gallery, dim]."""
    order: NDArray[np.int64] | None = None
    """[queries, depth]."""
    training: NDArray[np.float32] | None = None
    """[sample, dim], stored for what is learned from it afterwards."""
    weights_sha: str | None = None
    """SHA-256 of the weights of a trunk that a floor looks at."""
    distance: Distance = "euclidean"
    """By which the embeddings are compared."""


class Outcome(NamedTuple):
    """How a job ended."""

    status: Status
    reason: str | None = None
    evaluation: Evaluation | None = None


def run(
    job: Job,
    *,
    data: Path | None,
    results: Path,
    device: torch.device,
    terms: Terms = Terms(),  # noqa: B008
) -> Result:
    """Train and evaluate one job, or fuse the stored embeddings of its members, or let these teach it.

    Args:
        job: from an expanded matrix.
        data: folder with one subfolder per dataset.
        results: where a model ensemble finds its members.
        device: what trains.
        terms: how it is to be run, and who is told of it. Results do not depend on them.

    Raises:
        Stopped: it was asked to stop, and can be continued.
        LimitError: it has reached a limit, or the GPU's memory does not suffice.
    """
    started, watch = datetime.now(UTC), Watch(job, results, device, terms)
    provenance.reset_peak_memory(device)
    split = datasets.load(job.dataset, data)
    telling = partial(_tell_and_look, watch)
    fits: list[Fitted] = []
    compared, evaluating = Compared(), time.perf_counter()
    try:
        match job.kind:
            case "model_ensemble":
                compared = _fused(job, split, results)
            case "floor":
                compared = _floor(job, split, device, telling)
            case _:
                watch.take_up(split.sha)
                frozen = features(job, split, device, telling) if job.backbone.parameters.get("frozen") else None
                images = pictures(split, job.recipe, device, frozen=frozen)
                images = images._replace(taught=_taught(job, split, results))
                planned = folds(images.split.train.labels, job.recipe.validation, seed=job.seed)
                for number, fold in watch.left(planned):
                    try:
                        with advised(job, images, fold):
                            watch.finish(fit(job, images, fold, number=number, watch=watch))
                    except UnfitError as error:
                        watch.begin_anew(str(error))
                watch.look()
                fits = watch.finished
                compared = _side_by_side(fits)
        evaluating = time.perf_counter()
        outcome = _evaluated(job, split, compared, fits)
    except Unsuitable as reason:
        outcome = Outcome("skipped", str(reason))
    cost = {
        **(_training_cost(fits) | {"seconds_evaluate": time.perf_counter() - evaluating} if fits else {}),
        "started": started.isoformat(timespec="seconds"),
        "seconds": watch.seconds,
        "peak_memory_mb": watch.peak_memory_mb,
        "resumed": watch.resumed,
        **provenance.contamination(job, split),
        "left_out": left_out(split),
        "provenance": _provenance(job, device, split, fits, compared),
    }
    return _result(job, outcome, compared, fits, cost)


def _tell_and_look(watch: Watch, done: int, of: int) -> None:
    watch.terms.tell(done, of)
    watch.look()


def _provenance(job: Job, device: torch.device, split: Split, fits: Sequence[Fitted], compared: Compared) -> Provenance:
    """Of a job that looked at no trunk, nothing is said of weights."""
    sha = fits[0].weights_sha if fits else compared.weights_sha
    source = provenance.weights_source(job.backbone) if fits or sha else None
    return provenance.provenance(device, split.sha, sha, source)


def _side_by_side(fits: Sequence[Fitted]) -> Compared:
    """What one model embedded, or several, one per fold of the training classes, side by side."""
    training = _together([one.snapshot.training for one in fits]).cpu().numpy()
    return Compared(_together([one.snapshot.embeddings for one in fits]), training=training, distance=fits[0].distance)


def _together(embeddings: Sequence[Tensor]) -> Tensor:
    """Embeddings [N, dim] of several models side by side, each L2-normalised; of one as they are."""
    if len(embeddings) == 1:
        return embeddings[0]
    return F.normalize(torch.cat([F.normalize(one) for one in embeddings], 1))


def _floor(job: Job, split: Split, device: torch.device, tell: Tell) -> Compared:
    """What needs no learning."""
    entry = find("floors", job.objective.name)
    made = features(job, split, device, tell) if entry.positional == FEATURES and not are_vectors(split) else None
    vectors = entry.function()(made.split if made else split, **job.objective.parameters)
    embeddings = torch.as_tensor(np.asarray(vectors, np.float32))
    return Compared(embeddings, weights_sha=made.weights_sha if made else None)


def _fused(job: Job, split: Split, results: Path) -> Compared:
    """A model ensemble from what its members stored."""
    members = [_stored(member, split, results) for member in job.members]
    entry = find("model_ensembles", job.objective.name)
    if entry.plugin:
        check_by_angle(members)
    fused = entry.function()(members, **job.objective.parameters)
    if not isinstance(fused, Stored):
        return Compared(order=fused)
    parts = [fused.queries] + ([fused.gallery] if fused.gallery is not None else [])
    return Compared(torch.from_numpy(np.concatenate(parts)), training=fused.training, distance=fused.distance)


def _taught(job: Job, split: Split, results: Path) -> Tensor | None:
    """What the teachers of a student stored of the training images, side by side, [sample, width]; None of others."""
    if job.kind != "student":
        return None
    teachers = [_stored(member, split, results) for member in job.members]
    (training,) = training_images([side_by_side(teachers, np.ones(len(teachers)))])
    return torch.from_numpy(training)


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
    kind = InBall if store.distance(results, job.key) == "hyperbolic" else Stored
    return kind(embeddings[:count], embeddings[count:] if split.gallery else None, training)


def _evaluated(job: Job, split: Split, compared: Compared, fits: Sequence[Fitted]) -> Outcome:
    """The scores, or that there are none since something was not finite."""
    options: dict[str, Any] = {
        "gallery_labels": split.gallery.labels if split.gallery else None,
        "ks": job.recipe.recall_at,
    }
    if compared.embeddings is None:
        assert compared.order is not None, "a job without embeddings has an order"
        return Outcome("done", evaluation=score_order(compared.order, split.test.labels, **options))
    if not torch.isfinite(compared.embeddings).all() or any(one.diverged for one in fits):
        epoch = len(fits[-1].history) if fits else 0
        reason = f"the loss or the embeddings were not finite in epoch {epoch} of {job.recipe.epochs}"
        return Outcome("diverged", reason)
    count = len(split.test.labels)
    gallery = compared.embeddings[count:] if split.gallery else None
    options |= {"gallery": gallery, "distance": compared.distance}
    options |= {"restarts": job.recipe.restarts, "seed": derive(job.seed, "k-means")}
    return Outcome("done", evaluation=score(compared.embeddings[:count], split.test.labels, **options))


def _training_cost(fits: Sequence[Fitted]) -> dict[str, Any]:
    """What training took, and how large the models are."""
    epochs = [epoch for one in fits for epoch in one.history]
    seconds = sum(epoch["seconds"] for epoch in epochs)
    return {
        "seconds_train": seconds,
        "images_per_second": sum(epoch["images"] for epoch in epochs) / seconds if epochs else None,
        "parameters": sum(one.parameters for one in fits),
        "epoch": tuple(one.snapshot.epoch for one in fits),
    }


def _result(job: Job, outcome: Outcome, compared: Compared, fits: Sequence[Fitted], cost: dict[str, Any]) -> Result:
    """All that is stored; of a job without scores neither embeddings, nor of a floor, which is made again at once."""
    scored, embeddings = outcome.evaluation, compared.embeddings
    scores: dict[str, float] = {}
    if scored is not None:
        scores = scored.scores | selection([(one.history, one.snapshot.epoch) for one in fits])
        cost |= {"embedding_dim": embeddings.shape[1], "distance": compared.distance} if embeddings is not None else {}
        cost |= _hashes(compared, scored)
    known = {name: value if math.isfinite(value) else None for name, value in scores.items()}
    return Result(
        Row.of(job, outcome.status, reason=outcome.reason, scores=known, **cost),
        history=tuple(epoch for one in fits for epoch in one.history),
        queries=scored.queries if scored is not None else None,
        embeddings=embeddings.cpu().numpy() if embeddings is not None and scored and job.kind != "floor" else None,
        members=tuple(entry for one in fits for entry in one.members),
        training=compared.training if scored is not None else None,
    )


def _hashes(compared: Compared, scored: Evaluation) -> dict[str, str]:
    """Of what was compared, and of the ranks that it gave: equal bits have equal hashes."""
    bits = compared.order if compared.embeddings is None else compared.embeddings.float().cpu().numpy()
    both = {"embeddings_sha": bits, "first_hits_sha": scored.queries.first_hit}
    return {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in both.items() if array is not None}
