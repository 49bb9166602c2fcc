"""One model of a job, from its initial weights to the embeddings that count. Read `fit`, and you know the harness."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from bench import store
from bench.datasets.held_out import Fold
from bench.datasets.split import Split
from bench.job.batches import Draw, Reader, augmented, epochs, example, forget_all_but, generators, reader, viewed
from bench.job.built import built
from bench.job.class_texts import class_vectors
from bench.job.embed import embed
from bench.job.features import Features
from bench.job.fit_result import Fitted
from bench.job.network import Embedder, embedder_for
from bench.job.optimizer import Rates, optimizer, schedule
from bench.job.pml_losses import pml_loss
from bench.job.sampler import steps
from bench.job.students import Teacher, student
from bench.job.train import Epoch, Snapshot, Training, train
from bench.job.watch import Watch
from bench.job.weights import sha_of
from bench.matrix.catalogue import find
from bench.matrix.job import Job, Part
from bench.matrix.recipe import Recipe
from bench.matrix.seeds import derive
from bench.scoring.evaluation import evaluate
from bench.store.columns import LOOKS, SELECTS
from bench.store.row import MemberEpoch
from losses.ensembles import Distance, compared_by
from losses.members import shares
from losses.shape import Shape, Unsuitable

__all__ = ["Pictures", "begin", "build", "fit", "pictures"]

Embed = Callable[[Reader, Tensor], Tensor]


class Pictures(NamedTuple):
    """A split, and its images as readers of the training device."""

    split: Split
    device: torch.device
    train: Reader
    sides: tuple[tuple[Reader, Tensor], ...]
    """The queries, and the gallery where there is one, each with its rows."""
    draw: Draw
    """Training images as a batch has them."""
    sample: Tensor
    """Rows of training images whose embeddings are stored."""
    frozen: Features | None = None
    """Where the trunk is frozen: what it makes of the images, of which the readers read."""
    taught: Tensor | None = None
    """Of a student what its teachers say of the sample, [sample, width]."""


def pictures(split: Split, recipe: Recipe, device: torch.device, *, frozen: Features | None = None) -> Pictures:
    """Readers of all parts of a split, or of what a frozen trunk makes of them."""
    split = frozen.split if frozen else split
    train = split.train.images
    parts = [split.test.images] + ([split.gallery.images] if split.gallery else [])
    forget_all_but([train, *parts])
    sides = tuple((reader(images, device), torch.arange(len(images))) for images in parts)
    sample = torch.arange(0, len(train), -(-len(train) // store.TRAINING))
    read = reader(train, device)
    draw = augmented(read, recipe)
    if frozen and frozen.views is not None:
        draw = viewed(reader(frozen.views, device), len(frozen.views) // len(train), images=len(train))
    return Pictures(split, device, read, sides, draw, sample, frozen)


def fit(job: Job, images: Pictures, fold: Fold, *, number: int, watch: Watch) -> Fitted:
    """Train a model on the classes of a fold, and embed the test images as the recipe's epoch sees them.

    With classes held out, the model is looked at as it learns: the epoch with their best MAP@R (of equal ones the
    first) is the one that `select = "validation"` takes. What the test classes would have said is only written down.

    Args:
        job: from an expanded matrix.
        images: of its dataset, on the device that trains.
        fold: which training classes are held out.
        number: of this model among the job's models.
        watch: over the job.
    """
    recipe = job.recipe
    training = begin(job, images, fold, number=number)
    weights_sha = images.frozen.weights_sha if images.frozen else _initial_weights(job, training.model)
    watch.follow(training)
    embedded = partial(embed, training.model, training.objective, crop=recipe.crop, between=watch.look)
    for epoch in _left(training, job, images, fold, watch):
        watch.terms.progress(number * recipe.epochs + epoch.epoch)
        looked: dict[str, float] = dict.fromkeys(LOOKS, math.nan) if len(fold.held_out) else {}
        due = epoch.epoch % recipe.validate_every == 0 or epoch.epoch == recipe.epochs
        if looked and due and math.isfinite(epoch.loss):
            looked |= _look(training, epoch, fold, images, embedded, select=recipe.select == "validation")
        # From here on the epoch is over: one that is stopped before goes on with looking at it.
        training.history.append(epoch._asdict() | looked)
        training.members += _members(job.loss, training.objective, epoch.epoch)
        training.inside = None
        if _diverged(training):
            break
    if training.best is None or _diverged(training):
        training.best = _snapshot(len(training.history), math.nan, _test(images, embedded), images, embedded)
    return Fitted(
        history=tuple({"model": number, **entry} for entry in training.history),
        members=tuple(MemberEpoch(**entry, model=number) for entry in training.members),
        snapshot=training.best,
        parameters=_parameters(training, images.frozen),
        weights_sha=weights_sha,
        distance=compared_by(training.objective),
    )


def _left(training: Training, job: Job, images: Pictures, fold: Fold, watch: Watch) -> Iterator[Epoch]:
    """The epochs that are left to be trained; they are as they are asked for."""
    if _diverged(training):
        return iter(())
    recipe = job.recipe
    over = len(training.history), len(training.inside.losses) if training.inside else 0
    numbered = images.taught is not None
    feed = epochs(images.draw, fold.labels, recipe, draws=training.generators, over=over, numbered=numbered)
    options: dict[str, Any] = {"clip": recipe.clip, "at_a_time": recipe.images_at_a_time, "after_step": watch.look}
    return train(training, feed, precision=getattr(torch, recipe.precision), **options)


def _diverged(training: Training) -> bool:
    return bool(training.history) and not math.isfinite(training.history[-1]["loss"])


def begin(job: Job, images: Pictures, fold: Fold, *, number: int = 0) -> Training:
    """A training before its first epoch: the model `number` of a job, to be trained on the classes of a fold."""
    recipe = job.recipe
    seed = job.seed if number == 0 else derive(job.seed, f"model {number}")
    widths = images.frozen.widths if images.frozen else ()
    model, objective = build(job, images.split, fold, seed=seed, device=images.device, widths=widths)
    if images.taught is not None:
        place = torch.full((len(fold.labels),), -1)
        place[images.sample] = torch.arange(len(images.sample))
        teacher = Teacher(torch.from_numpy(fold.labels), place, images.taught)
        objective = student(job.objective, objective, teacher).to(images.device)
    rates = Rates(recipe.trunk_rate, recipe.head_rate, recipe.loss_rate)
    decay = {"weight_decay": recipe.weight_decay, "momentum": recipe.momentum}
    optimized = optimizer(model, objective, rates, **decay, kind=recipe.optimizer)
    warmup, step, factor = recipe.warmup_epochs, recipe.step_epochs, recipe.step_factor
    rate = schedule(recipe.schedule, recipe.epochs, warmup=warmup, step=step, factor=factor)
    drawn = len(fold.labels) - len(fold.held_out)
    classes, of_each, most = recipe.classes_per_batch, recipe.images_per_class, recipe.images_per_epoch
    per_epoch = steps(drawn, classes=classes, images=of_each, most=most)
    scheduler = LambdaLR(optimized, lambda step: rate(step / per_epoch))
    head_steps = round(recipe.head_epochs * per_epoch)
    return Training(model, objective, optimized, scheduler, generators(seed), head_steps=head_steps)


def build(
    job: Job, split: Split, fold: Fold, *, seed: int, device: torch.device, widths: Sequence[int] = ()
) -> tuple[Embedder, nn.Module]:
    """Model and objective, each with initial weights from a seed of its own.

    Args:
        job: from an expanded matrix.
        split: of pictures, or of vectors.
        fold: which training classes are held out.
        seed: of this model.
        device: that trains.
        widths: of the levels that stand side by side in vectors.

    Raises:
        ValueError: it cannot be built as asked, or there is nothing in it to train.
        Unsuitable: it does not go with the data, or with folds.
    """
    recipe = job.recipe
    torch.manual_seed(derive(seed, "model"))
    model = embedder_for(job.backbone, example(split.train, crop=recipe.crop), recipe.dim, widths).to(device)
    texts = split.train.texts if _needs_text(job.loss) else None
    text = class_vectors([texts[one] for one in fold.classes], recipe.text).to(device) if texts else None
    torch.manual_seed(derive(seed, "objective"))
    objective = _objective(job.loss, Shape(model.dim, len(fold.classes), text, recipe.images_per_class)).to(device)
    if recipe.epochs and not any(tensor.requires_grad for one in (model, objective) for tensor in one.parameters()):
        raise ValueError(f"{job.objective.name} has nothing to train: the trunk is frozen and has no head; add a head")
    if recipe.head_epochs and not _learns_without_trunk(model, objective):
        raise ValueError("in the head_epochs nothing would learn: set head_epochs = 0, or a head on the backbone")
    if recipe.models > 1 and (distance := compared_by(objective)) != "euclidean":
        raise Unsuitable(f"the models of several folds stand side by side, which {distance} distance does not outlast.")
    torch.manual_seed(derive(seed, "training"))  # dropout and random miners
    return model, objective


def _learns_without_trunk(model: Embedder, objective: nn.Module) -> bool:
    """Whether the head, the pooling or the objective has a tensor to train."""
    parts = (model.pool, model.head, objective)
    return any(tensor.requires_grad for part in parts for tensor in part.parameters())


def _objective(part: Part, shape: Shape) -> nn.Module:
    """A loss, or an ensemble whose members are built the same way."""
    if name := part.name.partition("/")[2]:  # of pytorch-metric-learning
        return pml_loss(name, shape, **part.parameters)
    entry = find("ensembles" if part.members else "losses", part.name)
    members = [[partial(_member, member) for member in part.members]] if part.members else []
    return built(entry, entry.function()(shape, *members, **part.parameters))


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


def _members(part: Part, objective: nn.Module, epoch: int) -> Iterator[dict[str, Any]]:
    """What each member of an ensemble did in this epoch, as in MemberEpoch; nothing for a loss."""
    for share in shares(objective):
        parts = list(accumulate(share.path, lambda inside, place: inside.members[place], initial=part))[1:]
        label = " / ".join(inside.label for inside in parts)
        yield {"epoch": epoch, "member": label} | {k: v for k, v in share._asdict().items() if k != "path"}


def _look(
    training: Training, epoch: Epoch, fold: Fold, images: Pictures, embedded: Embed, *, select: bool
) -> dict[str, float]:
    """What the held-out classes and the test say of an epoch, which is kept if it is the best so far.

    Each image held out is a query against all others. Nothing is said of embeddings that are not finite.
    """
    held_out, test = embedded(images.train, torch.from_numpy(fold.held_out)), _test(images, embedded)
    finite = torch.isfinite(held_out).all() and torch.isfinite(test).all()
    distance = compared_by(training.objective)
    found = _scores(images.split, fold, held_out, test, distance=distance) if finite else {}
    score = found.get(SELECTS, math.nan)
    if select and (training.best is None or score > training.best.score):
        training.best = _snapshot(epoch.epoch, score, test, images, embedded)
    return found


def _scores(split: Split, fold: Fold, held_out: Tensor, test: Tensor, *, distance: Distance) -> dict[str, float]:
    queries = len(split.test.labels)
    gallery: dict[str, Any] = (
        {"gallery": test[queries:], "gallery_labels": split.gallery.labels} if split.gallery else {}
    )
    way: dict[str, Any] = {"ks": (1,), "restarts": 0, "distance": distance}
    scored = {
        "validation": evaluate(held_out, split.train.labels[fold.held_out], **way),
        "test": evaluate(test[:queries], split.test.labels, **way, **gallery),
    }
    found = {f"{side}_{name}": score for side, scores in scored.items() for name, score in scores.items()}
    return {name: found[name] for name in LOOKS}


def _snapshot(epoch: int, score: float, test: Tensor, images: Pictures, embedded: Embed) -> Snapshot:
    return Snapshot(epoch, score, test, embedded(images.train, images.sample))


def _test(images: Pictures, embedded: Embed) -> Tensor:
    return torch.cat([embedded(read, rows) for read, rows in images.sides])


def _initial_weights(job: Job, model: nn.Module) -> str | None:
    """SHA-256 of the trunk's, where they come from elsewhere."""
    given = job.backbone.parameters.get("weights") or job.backbone.parameters.get("pretrained")
    return sha_of(model.get_submodule("trunk")) if given else None


def _parameters(training: Training, frozen: Features | None) -> int:
    """Of model and objective, and of a frozen trunk."""
    own = sum(tensor.numel() for one in (training.model, training.objective) for tensor in one.parameters())
    return own + (frozen.parameters if frozen else 0)
