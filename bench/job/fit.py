"""One model of a job, from its initial weights to the embeddings that count. Read `fit`, and you know the harness."""

import hashlib
import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bench import store
from bench.datasets.held_out import Fold
from bench.datasets.split import Split
from bench.job.batches import Reader, epochs, example, reader
from bench.job.class_texts import class_vectors
from bench.job.embed import embed
from bench.job.embedder import Embedder, embedder_for
from bench.job.sampler import steps
from bench.job.train import Epoch, optimizer, schedule, train
from bench.matrix.catalogue import find
from bench.matrix.job import Job, Part
from bench.matrix.seeds import derive
from bench.scoring.evaluation import evaluate
from bench.store.columns import LOOKS, SELECTS
from bench.store.row import MemberEpoch
from losses.members import shares
from losses.shape import Shape

__all__ = ["Fitted", "Pictures", "build", "fit", "pictures"]

Embed = Callable[[Reader, Tensor], Tensor]


class Pictures(NamedTuple):
    """The images of a split, as readers of the training device."""

    train: Reader
    sides: tuple[tuple[Reader, Tensor], ...]
    """The queries, and the gallery where there is one, each with its rows."""
    sample: Tensor
    """Rows of training images whose embeddings are stored."""


class Snapshot(NamedTuple):
    """A model after an epoch."""

    epoch: int
    """0 before training."""
    score: float
    """What the classes held out say of it; NaN where it was not chosen by them."""
    embeddings: Tensor
    """[queries + gallery, dim], as compared."""
    training: Tensor
    """[sample, dim]."""


class Fitted(NamedTuple):
    """What one model leaves behind."""

    history: tuple[dict[str, float], ...]
    """Of every epoch what `train.Epoch` says, and where it was looked at validation_NAME and test_NAME."""
    members: tuple[MemberEpoch, ...]
    snapshot: Snapshot
    """The epoch that counts."""
    parameters: int
    weights_sha: str | None
    """SHA-256 of the trunk's initial weights, where they come from elsewhere."""


def pictures(split: Split, device: torch.device) -> Pictures:
    """Readers of all parts of a split."""
    train = split.train.images
    parts = [split.test.images] + ([split.gallery.images] if split.gallery else [])
    sides = tuple((reader(images, device), torch.arange(len(images))) for images in parts)
    return Pictures(reader(train, device), sides, torch.arange(0, len(train), -(-len(train) // store.TRAINING)))


def fit(
    job: Job,
    split: Split,
    fold: Fold,
    *,
    images: Pictures,
    seed: int,
    device: torch.device,
    progress: Callable[[int], None],
) -> Fitted:
    """Train a model on the classes of a fold, and embed the test images as the recipe's epoch sees them.

    With classes held out, the model is looked at as it learns: the epoch with their best MAP@R (of equal ones the
    first) is the one that `select = "validation"` takes. What the test classes would have said is only written down.

    Args:
        job: from an expanded matrix.
        split: its dataset.
        fold: which training classes are held out.
        images: of the split.
        seed: of initial weights, batches and augmentation.
        device: what trains.
        progress: told the number of epochs done.
    """
    recipe = job.recipe
    model, objective = build(job, split, fold, seed=seed, device=device)
    weights_sha = _weights_sha(job, model)
    embedded = partial(embed, model, objective, crop=recipe.crop)
    history: list[dict[str, float]] = []
    members: list[MemberEpoch] = []
    best: Snapshot | None = None
    for epoch in _epochs(job, fold, model, objective, images.train, seed=seed, device=device):
        history.append(epoch._asdict() | dict.fromkeys(LOOKS if len(fold.held_out) else (), math.nan))
        members += _member_epochs(job.objective, objective, epoch.epoch)
        progress(epoch.epoch)
        if not math.isfinite(epoch.loss):
            break
        if len(fold.held_out) and (epoch.epoch % recipe.validate_every == 0 or epoch.epoch == recipe.epochs):
            scores, embeddings = _look(split, fold, images, embedded)
            history[-1] |= scores
            if recipe.select == "validation" and (best is None or scores[SELECTS] > best.score):
                best = Snapshot(epoch.epoch, scores[SELECTS], embeddings, embedded(images.train, images.sample))
    if best is None or not math.isfinite(history[-1]["loss"]):
        best = Snapshot(len(history), math.nan, _test(images, embedded), embedded(images.train, images.sample))
    return Fitted(
        history=tuple(history),
        members=tuple(members),
        snapshot=best,
        parameters=sum(tensor.numel() for tensor in (*model.parameters(), *objective.parameters())),
        weights_sha=weights_sha,
    )


def build(job: Job, split: Split, fold: Fold, *, seed: int, device: torch.device) -> tuple[Embedder, nn.Module]:
    """Model and objective, each with initial weights from a seed of its own."""
    recipe = job.recipe
    torch.manual_seed(derive(seed, "model"))
    model = embedder_for(job.backbone, example(split.train, crop=recipe.crop), recipe.dim).to(device)
    texts = split.train.texts if _needs_text(job.objective) else None
    text = class_vectors([texts[one] for one in fold.classes], recipe.text).to(device) if texts else None
    torch.manual_seed(derive(seed, "objective"))
    objective = _objective(job.objective, Shape(model.dim, len(fold.classes), text, recipe.images_per_class)).to(device)
    torch.manual_seed(derive(seed, "training"))  # dropout and random miners
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
    job: Job,
    fold: Fold,
    model: Embedder,
    objective: nn.Module,
    read: Reader,
    *,
    seed: int,
    device: torch.device,
) -> Iterator[Epoch]:
    recipe = job.recipe
    rates = {"trunk": recipe.trunk_rate, "head": recipe.head_rate, "loss": recipe.loss_rate}
    decay = {"weight_decay": recipe.weight_decay, "momentum": recipe.momentum}
    warmup, step, factor = recipe.warmup_epochs, recipe.step_epochs, recipe.step_factor
    return train(
        model,
        objective,
        epochs(read, fold.labels, recipe, seed=seed, device=device),
        optimizer=optimizer(model, objective, **rates, **decay, kind=recipe.optimizer),
        schedule=schedule(recipe.schedule, recipe.epochs, warmup=warmup, step=step, factor=factor),
        steps=steps(
            len(fold.labels) - len(fold.held_out), classes=recipe.classes_per_batch, images=recipe.images_per_class
        ),
        clip=recipe.clip,
        precision=getattr(torch, recipe.precision),
    )


def _member_epochs(part: Part, objective: nn.Module, epoch: int) -> Iterator[MemberEpoch]:
    """What each member of an ensemble did in this epoch; nothing for a loss."""
    for share in shares(objective):
        parts = list(accumulate(share.path, lambda inside, place: inside.members[place], initial=part))[1:]
        yield MemberEpoch(epoch, " / ".join(inside.label for inside in parts), *share[1:])


def _look(split: Split, fold: Fold, images: Pictures, embedded: Embed) -> tuple[dict[str, float], Tensor]:
    """Scores of the classes held out, each image a query against all others, and of the test; the test's embeddings."""
    held_out, test = embedded(images.train, torch.from_numpy(fold.held_out)), _test(images, embedded)
    if not (torch.isfinite(held_out).all() and torch.isfinite(test).all()):
        return dict.fromkeys(LOOKS, math.nan), test
    queries = len(split.test.labels)
    gallery: dict[str, Any] = (
        {"gallery": test[queries:], "gallery_labels": split.gallery.labels} if split.gallery else {}
    )
    scored = {
        "validation": evaluate(held_out, split.train.labels[fold.held_out], ks=(1,), restarts=0),
        "test": evaluate(test[:queries], split.test.labels, ks=(1,), restarts=0, **gallery),
    }
    found = {f"{side}_{name}": score for side, scores in scored.items() for name, score in scores.items()}
    return {name: found[name] for name in LOOKS}, test


def _test(images: Pictures, embedded: Embed) -> Tensor:
    return torch.cat([embedded(read, rows) for read, rows in images.sides])


def _weights_sha(job: Job, model: Embedder) -> str | None:
    if not (job.backbone.parameters["weights"] or job.backbone.parameters.get("pretrained")):
        return None
    digest = hashlib.sha256()
    for tensor in model.trunk.state_dict().values():
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
