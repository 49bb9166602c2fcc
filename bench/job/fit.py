"""One model of a job, from its initial weights to the embeddings that count. Read `fit`, and you know the harness."""

import hashlib
import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from bench import store
from bench.datasets.held_out import Fold
from bench.datasets.split import Split
from bench.job.batches import Reader, epochs, example, generators, reader
from bench.job.class_texts import class_vectors
from bench.job.embed import embed
from bench.job.embedder import Embedder, embedder_for
from bench.job.optimizer import Rates, optimizer, schedule
from bench.job.pml_losses import pml_loss
from bench.job.sampler import steps
from bench.job.train import Snapshot, Training, train
from bench.matrix.catalogue import find
from bench.matrix.job import Job, Part
from bench.matrix.seeds import derive
from bench.scoring.evaluation import evaluate
from bench.store.columns import LOOKS, SELECTS
from bench.store.row import MemberEpoch
from losses.members import shares
from losses.shape import Shape

__all__ = ["Fitted", "Pictures", "begin", "build", "fit", "pictures"]

Embed = Callable[[Reader, Tensor], Tensor]


class Pictures(NamedTuple):
    """A split, and its images as readers of the training device."""

    split: Split
    device: torch.device
    train: Reader
    sides: tuple[tuple[Reader, Tensor], ...]
    """The queries, and the gallery where there is one, each with its rows."""
    sample: Tensor
    """Rows of training images whose embeddings are stored."""


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

    @property
    def diverged(self) -> bool:
        """Whether the last epoch's loss, or what it was looked at with, was not finite."""
        return bool(self.history) and not all(math.isfinite(value) for value in self.history[-1].values())


def pictures(split: Split, device: torch.device) -> Pictures:
    """Readers of all parts of a split."""
    train = split.train.images
    parts = [split.test.images] + ([split.gallery.images] if split.gallery else [])
    sides = tuple((reader(images, device), torch.arange(len(images))) for images in parts)
    sample = torch.arange(0, len(train), -(-len(train) // store.TRAINING))
    return Pictures(split, device, reader(train, device), sides, sample)


def fit(
    job: Job, images: Pictures, fold: Fold, *, number: int = 0, progress: Callable[[int], None] = lambda _epochs: None
) -> Fitted:
    """Train a model on the classes of a fold, and embed the test images as the recipe's epoch sees them.

    With classes held out, the model is looked at as it learns: the epoch with their best MAP@R (of equal ones the
    first) is the one that `select = "validation"` takes. What the test classes would have said is only written down.

    Args:
        job: from an expanded matrix.
        images: of its dataset, on the device that trains.
        fold: which training classes are held out.
        number: of this model among the job's models.
        progress: told the number of epochs done, those of the models before included.
    """
    recipe = job.recipe
    training = begin(job, images, fold, number=number)
    weights_sha = _weights_sha(job, training.model)
    embedded = partial(embed, training.model, training.objective, crop=recipe.crop)
    feed = epochs(images.train, fold.labels, recipe, draws=training.generators, device=images.device)
    for epoch in train(training, feed, clip=recipe.clip, precision=getattr(torch, recipe.precision)):
        looked: dict[str, float] = dict.fromkeys(LOOKS, math.nan) if len(fold.held_out) else {}
        training.history.append(epoch._asdict() | looked)
        training.members += _members(job.objective, training.objective, epoch.epoch)
        progress(number * recipe.epochs + epoch.epoch)
        if not math.isfinite(epoch.loss):
            break
        if looked and (epoch.epoch % recipe.validate_every == 0 or epoch.epoch == recipe.epochs):
            _look(training, fold, images, embedded, select=recipe.select == "validation")
    if training.best is None or not math.isfinite(training.history[-1]["loss"]):
        training.best = _snapshot(len(training.history), math.nan, _test(images, embedded), images, embedded)
    return Fitted(
        history=tuple({"model": number, **entry} for entry in training.history),
        members=tuple(MemberEpoch(**entry, model=number) for entry in training.members),
        snapshot=training.best,
        parameters=sum(tensor.numel() for one in (training.model, training.objective) for tensor in one.parameters()),
        weights_sha=weights_sha,
    )


def begin(job: Job, images: Pictures, fold: Fold, *, number: int = 0) -> Training:
    """A training before its first epoch: the model `number` of a job, to be trained on the classes of a fold."""
    recipe = job.recipe
    seed = job.seed if number == 0 else derive(job.seed, f"model {number}")
    model, objective = build(job, images.split, fold, seed=seed, device=images.device)
    rates = Rates(recipe.trunk_rate, recipe.head_rate, recipe.loss_rate)
    decay = {"weight_decay": recipe.weight_decay, "momentum": recipe.momentum}
    optimized = optimizer(model, objective, rates, **decay, kind=recipe.optimizer)
    warmup, step, factor = recipe.warmup_epochs, recipe.step_epochs, recipe.step_factor
    rate = schedule(recipe.schedule, recipe.epochs, warmup=warmup, step=step, factor=factor)
    drawn = len(fold.labels) - len(fold.held_out)
    per_epoch = steps(drawn, classes=recipe.classes_per_batch, images=recipe.images_per_class)
    scheduler = LambdaLR(optimized, lambda step: rate(step / per_epoch))
    return Training(model, objective, optimized, scheduler, generators(seed))


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
    if name := part.name.partition("/")[2]:  # of pytorch-metric-learning
        return pml_loss(name, shape, **part.parameters)
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


def _members(part: Part, objective: nn.Module, epoch: int) -> Iterator[dict[str, Any]]:
    """What each member of an ensemble did in this epoch, as in MemberEpoch; nothing for a loss."""
    for share in shares(objective):
        parts = list(accumulate(share.path, lambda inside, place: inside.members[place], initial=part))[1:]
        label = " / ".join(inside.label for inside in parts)
        yield {"epoch": epoch, "member": label} | {k: v for k, v in share._asdict().items() if k != "path"}


def _look(training: Training, fold: Fold, images: Pictures, embedded: Embed, *, select: bool) -> None:
    """Write down what the held-out classes and the test say of the last epoch, and keep it if it is the best so far.

    Each image held out is a query against all others.
    """
    held_out, test = embedded(images.train, torch.from_numpy(fold.held_out)), _test(images, embedded)
    last = training.history[-1]
    if torch.isfinite(held_out).all() and torch.isfinite(test).all():
        last |= _scores(images.split, fold, held_out, test)
    if select and (training.best is None or last[SELECTS] > training.best.score):
        training.best = _snapshot(int(last["epoch"]), last[SELECTS], test, images, embedded)


def _scores(split: Split, fold: Fold, held_out: Tensor, test: Tensor) -> dict[str, float]:
    queries = len(split.test.labels)
    gallery: dict[str, Any] = (
        {"gallery": test[queries:], "gallery_labels": split.gallery.labels} if split.gallery else {}
    )
    scored = {
        "validation": evaluate(held_out, split.train.labels[fold.held_out], ks=(1,), restarts=0),
        "test": evaluate(test[:queries], split.test.labels, ks=(1,), restarts=0, **gallery),
    }
    found = {f"{side}_{name}": score for side, scores in scored.items() for name, score in scores.items()}
    return {name: found[name] for name in LOOKS}


def _snapshot(epoch: int, score: float, test: Tensor, images: Pictures, embedded: Embed) -> Snapshot:
    return Snapshot(epoch, score, test, embedded(images.train, images.sample))


def _test(images: Pictures, embedded: Embed) -> Tensor:
    return torch.cat([embedded(read, rows) for read, rows in images.sides])


def _weights_sha(job: Job, model: nn.Module) -> str | None:
    if not (job.backbone.parameters["weights"] or job.backbone.parameters.get("pretrained")):
        return None
    digest = hashlib.sha256()
    for tensor in model.get_submodule("trunk").state_dict().values():
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
