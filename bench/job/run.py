"""One job, from its description to its result."""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
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
from bench.job.built import NoTrunk
from bench.job.checkpoint import UnfitError
from bench.job.epoch_choice import selection
from bench.job.features import Features, Tell, features, probe
from bench.job.fit import build, fit, pictures
from bench.job.fitted import Fitted
from bench.job.fusion import Stored
from bench.job.watch import Terms, Watch
from bench.matrix.catalogue import FEATURES, Entry, entries, find
from bench.matrix.job import TRAINED, Job
from bench.matrix.plugin_file import PluginError
from bench.matrix.seeds import derive
from bench.scoring.evaluation import Evaluation, score, score_order
from bench.scoring.plugin_metric import trial
from bench.store.row import Provenance, Result, Row, Status
from losses.shape import Unsuitable

__all__ = ["refusals", "run"]


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
    progress: Callable[[int], None] = lambda _epochs: None,
    tell: Tell = lambda _done, _of: None,
    terms: Terms = Terms(),  # noqa: B008
) -> Result:
    """Train and evaluate one job, or fuse the stored embeddings of its members.

    Args:
        job: from an expanded matrix.
        data: folder with one subfolder per dataset.
        results: where a model ensemble finds its members.
        device: what trains.
        progress: told the number of epochs done.
        tell: told how many pictures are through a frozen trunk, where that is not done yet.
        terms: how it is to be run. Results do not depend on them.

    Raises:
        Stopped: it was asked to stop, and can be continued.
        LimitError: it has reached a limit.
    """
    started, watch = datetime.now(UTC), Watch(job, results, device, terms)
    provenance.reset_peak_memory(device)
    split = datasets.load(job.dataset, data)
    telling = partial(_tell_and_look, tell, watch)
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
                planned = folds(images.split.train.labels, job.recipe.validation, seed=job.seed)
                for number, fold in watch.left(planned):
                    try:
                        watch.finish(fit(job, images, fold, number=number, watch=watch, progress=progress))
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


def _tell_and_look(tell: Tell, watch: Watch, done: int, of: int) -> None:
    tell(done, of)
    watch.look()


def _provenance(job: Job, device: torch.device, split: Split, fits: Sequence[Fitted], compared: Compared) -> Provenance:
    """Of a job that looked at no trunk, nothing is said of weights."""
    sha = fits[0].weights_sha if fits else compared.weights_sha
    source = provenance.weights_source(job.backbone) if fits or sha else None
    return provenance.provenance(device, split.sha, sha, source)


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
    kinds = {"loss": "losses", "ensemble": "ensembles", "model_ensemble": "model_ensembles", "floor": "floors"}
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


def _side_by_side(fits: Sequence[Fitted]) -> Compared:
    """What one model embedded, or several, one per fold of the training classes, side by side."""
    training = _together([one.snapshot.training for one in fits]).cpu().numpy()
    return Compared(_together([one.snapshot.embeddings for one in fits]), training=training)


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
    fused = find("model_ensembles", job.objective.name).function()(members, **job.objective.parameters)
    if not isinstance(fused, Stored):
        return Compared(order=fused)
    parts = [fused.queries] + ([fused.gallery] if fused.gallery is not None else [])
    return Compared(torch.from_numpy(np.concatenate(parts)), training=fused.training)


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
    options |= {"gallery": gallery, "restarts": job.recipe.restarts, "seed": derive(job.seed, "k-means")}
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
        cost |= {"embedding_dim": embeddings.shape[1] if embeddings is not None else None}
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
