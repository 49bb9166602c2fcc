"""One job, from its description to its result. Read `run` and `_train`, and you know the harness."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench import datasets, models, provenance, store
from bench.batches import epochs, example
from bench.catalogue import find
from bench.config import Job, Part
from bench.datasets.split import Split
from bench.embed import embed
from bench.evaluation import Evaluation, score, score_order
from bench.fusion import Stored
from bench.row import MemberEpoch, Provenance, Result, Row, failure
from bench.sampler import steps
from bench.seeds import derive
from bench.text import class_vectors
from bench.train import Epoch, optimizer, schedule, train
from losses.members import shares
from losses.shape import Shape, Unsuitable

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
        result = _fuse(job, split, results) if job.kind == "model_ensemble" else _train(job, split, device, progress)
    except Unsuitable as reason:
        result = failure(job, "skipped", str(reason))
    cost = {
        "started": started.isoformat(timespec="seconds"),
        "seconds": time.perf_counter() - clock,
        "peak_memory_mb": provenance.peak_memory_mb(device),
        "provenance": provenance.provenance(device, split.sha, result.row.provenance.weights_sha),
    }
    return result._replace(row=result.row.model_copy(update=cost))


def refusals(jobs: Sequence[Job], data: Path | None) -> list[str]:
    """Why backbones and objectives cannot be built as asked, one sentence each; builds all, trains nothing.

    Only wrong values count: what does not suit the dataset is skipped when its turn comes, and what breaks in another
    way becomes a failed row with its traceback.
    """
    found: dict[str, None] = {}
    for job in {(j.dataset.label, j.backbone.label, j.objective.label): j for j in jobs if not j.members}.values():
        try:
            _build(job, datasets.load(job.dataset, data), torch.device("cpu"))
        except Exception as error:
            if isinstance(error, ValueError) and not isinstance(error, Unsuitable):
                found[f"{job.objective.label} on {job.backbone.label}: {error}"] = None
    return list(found)


def _train(job: Job, split: Split, device: torch.device, progress: Callable[[int], None]) -> Result:
    model, objective = _build(job, split, device)
    weights_sha = _weights_sha(job, model)
    history: list[Epoch] = []
    members: list[MemberEpoch] = []
    for epoch in _epochs(job, split, model, objective, device):
        history.append(epoch)
        members += _member_epochs(job.objective, objective, epoch.epoch)
        progress(epoch.epoch)
        if not math.isfinite(epoch.loss):
            break
    clock = time.perf_counter()
    evaluated = _evaluate(job, split, _embed(model, objective, split, device), history)
    seconds = sum(epoch.seconds for epoch in history)
    cost = {
        "seconds_train": seconds,
        "seconds_evaluate": time.perf_counter() - clock,
        "images_per_second": sum(epoch.images for epoch in history) / seconds if history else None,
        "parameters": sum(tensor.numel() for tensor in (*model.parameters(), *objective.parameters())),
        "provenance": Provenance(weights_sha=weights_sha),
    }
    sample = split.train.images[:: -(-len(split.train.images) // store.TRAINING)]
    training = embed(model, objective, sample, device).cpu().numpy()
    return evaluated._replace(row=evaluated.row.model_copy(update=cost), members=tuple(members), training=training)


def _member_epochs(part: Part, objective: nn.Module, epoch: int) -> Iterator[MemberEpoch]:
    """What each member of an ensemble did in this epoch; nothing for a loss."""
    for share in shares(objective):
        parts = list(accumulate(share.path, lambda inside, place: inside.members[place], initial=part))[1:]
        yield MemberEpoch(epoch, " / ".join(inside.label for inside in parts), *share[1:])


def _build(job: Job, split: Split, device: torch.device) -> tuple[models.Embedder, nn.Module]:
    """Model and objective, each with initial weights from a seed of its own."""
    torch.manual_seed(derive(job.seed, "model"))
    model = models.build(job.backbone, example(split.train), job.recipe.dim).to(device)
    texts = split.train.texts if _needs_text(job.objective) else None
    text = class_vectors(texts, job.recipe.text).to(device) if texts else None
    torch.manual_seed(derive(job.seed, "objective"))
    shape = Shape(model.dim, len(split.train.classes), text, job.recipe.images_per_class)
    objective = _objective(job.objective, shape).to(device)
    torch.manual_seed(derive(job.seed, "training"))  # dropout and random miners
    return model, objective


def _objective(part: Part, shape: Shape) -> nn.Module:
    """A loss, or an ensemble whose members are built the same way."""
    build = find("ensembles" if part.members else "losses", part.name).function()
    members = [[partial(_member, member) for member in part.members]] if part.members else []
    objective: nn.Module = build(shape, *members, **part.parameters)
    return objective


def _member(part: Part, shape: Shape) -> nn.Module:
    """A member of an ensemble; one that cannot be built says which it is."""
    try:
        return _objective(part, shape)
    except Exception as error:
        kind = type(error) if isinstance(error, ValueError) else RuntimeError
        raise kind(f"member {part.label!r}: {error}") from error


def _needs_text(part: Part) -> bool:
    """Whether an objective, or a member of it, looks at the classes' texts."""
    entry = find("ensembles" if part.members else "losses", part.name)
    return "text" in entry.needs or any(_needs_text(member) for member in part.members)


def _epochs(
    job: Job, split: Split, model: models.Embedder, objective: nn.Module, device: torch.device
) -> Iterator[Epoch]:
    recipe = job.recipe
    rates = {"trunk": recipe.trunk_rate, "head": recipe.head_rate, "loss": recipe.loss_rate}
    warmup, step, factor = recipe.warmup_epochs, recipe.step_epochs, recipe.step_factor
    return train(
        model,
        objective,
        epochs(split.train, recipe, seed=job.seed, device=device),
        optimizer=optimizer(model, objective, **rates, weight_decay=recipe.weight_decay),
        schedule=schedule(recipe.schedule, recipe.epochs, warmup=warmup, step=step, factor=factor),
        steps=steps(len(split.train.labels), classes=recipe.classes_per_batch, images=recipe.images_per_class),
        clip=recipe.clip,
        precision=getattr(torch, recipe.precision),
    )


def _embed(model: nn.Module, objective: nn.Module, split: Split, device: torch.device) -> Tensor:
    """Embeddings of the queries and, after them, of the gallery where there is one: [N, dim]."""
    parts = [split.test.images] + ([split.gallery.images] if split.gallery else [])
    return torch.cat([embed(model, objective, images, device) for images in parts])


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


def _evaluate(job: Job, split: Split, embeddings: Tensor, history: list[Epoch]) -> Result:
    epochs = tuple(epoch._asdict() for epoch in history)
    if not torch.isfinite(embeddings).all() or (history and not math.isfinite(history[-1].loss)):
        reason = f"the loss or the embeddings were not finite in epoch {len(history)} of {job.recipe.epochs}"
        return Result(Row.of(job, "diverged", reason=reason), epochs)
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
    return _result(job, evaluated, history=epochs, embeddings=embeddings.cpu().numpy())


def _result(job: Job, evaluated: Evaluation, **rest: Any) -> Result:
    known = {name: value if math.isfinite(value) else None for name, value in evaluated.scores.items()}
    row = Row.of(job, "done", scores=known)
    if (embeddings := rest.get("embeddings")) is not None:
        row = row.model_copy(update={"embedding_dim": embeddings.shape[1]})
    return Result(row, first_hits=evaluated.first_hit, **rest)


def _weights_sha(job: Job, model: models.Embedder) -> str | None:
    """SHA-256 of the trunk's initial weights, where they come from elsewhere."""
    if not (job.backbone.parameters["weights"] or job.backbone.parameters.get("pretrained")):
        return None
    digest = hashlib.sha256()
    for tensor in model.trunk.state_dict().values():
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
