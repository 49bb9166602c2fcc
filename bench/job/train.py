"""Training: a generator, one epoch per step; evaluating, logging and stopping are the caller's loop body."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import LambdaLR

__all__ = ["Epoch", "Rates", "Schedule", "Snapshot", "Training", "optimizer", "schedule", "train"]

Schedule = Callable[[float], float]
"""Epochs passed, as a fraction -> factor of every learning rate."""


STATEFUL = ("model", "objective", "optimizer", "scheduler")
"""Fields of a training that keep a state as torch's modules do."""


class Epoch(NamedTuple):
    """What one epoch leaves to be written down."""

    epoch: int
    loss: float
    """Mean over the epoch's batches; not finite when training diverged."""
    rate: float
    """Learning rate of the trunk at the epoch's last step."""
    seconds: float
    images: int


class Snapshot(NamedTuple):
    """What a model says of the images after an epoch."""

    epoch: int
    """0 before training."""
    score: float
    """What the held-out classes say of it; NaN where it was not chosen by them."""
    embeddings: Tensor
    """[queries + gallery, dim], as compared."""
    training: Tensor
    """[sample, dim]."""


@dataclass
class Training:
    """A model that is being trained, and all that is needed to continue after any of its epochs."""

    model: nn.Module
    """Images -> embeddings [B, dim]."""
    objective: nn.Module
    """(embeddings, labels) -> scalar."""
    optimizer: Optimizer
    """Holds every trainable tensor of both; its first group is the trunk's."""
    scheduler: LambdaLR
    """Steps once per batch."""
    generators: dict[str, torch.Generator]
    """By purpose; they draw the batches and their augmentation. Dropout and miners draw from torch's own generators."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One entry per epoch so far: so its length is the position."""
    members: list[dict[str, Any]] = field(default_factory=list)
    """One entry per epoch and member of an ensemble."""
    best: Snapshot | None = None
    """The best epoch so far, where held-out classes select one."""

    def state_dict(self) -> dict[str, Any]:
        """Everything as tensors, numbers and text, which `torch.load` reads with `weights_only`; torch's own too."""
        cuda = next(self.model.parameters()).device.type == "cuda"
        return {
            **{name: getattr(self, name).state_dict() for name in STATEFUL},
            "generators": {purpose: one.get_state() for purpose, one in self.generators.items()},
            "torch": [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if cuda else [])],
            "history": list(self.history),
            "members": list(self.members),
            "best": self.best and self.best._asdict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where the training stood that gave this state; this one was made for the same job."""
        for name in STATEFUL:
            getattr(self, name).load_state_dict(state[name])
        for purpose, one in self.generators.items():
            one.set_state(state["generators"][purpose].cpu())
        cpu, *cuda = state["torch"]
        torch.set_rng_state(cpu.cpu())
        if cuda:
            torch.cuda.set_rng_state(cuda[0].cpu())
        self.history, self.members = list(state["history"]), list(state["members"])
        self.best = Snapshot(**state["best"]) if state["best"] else None


def train(
    training: Training,
    epochs: Iterable[Iterable[tuple[Tensor, Tensor]]],
    *,
    clip: float | None = None,
    precision: torch.dtype = torch.float32,
) -> Iterator[Epoch]:
    """Train and yield after every epoch; the first follows the last one in the history.

    Args:
        training: what is trained, changed in place.
        epochs: for every epoch its batches, (images float [B, C, H, W], labels [B]) on the model's device.
        clip: largest norm of the gradient of all trainable tensors together.
        precision: bfloat16 runs the model under autocast; the objective always sees float32.
    """
    model, objective = training.model, training.objective
    optimizer, scheduler = training.optimizer, training.scheduler
    trainable = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    for number, batches in enumerate(epochs, start=len(training.history) + 1):
        model.train()
        objective.train()
        start, losses, images, rate = time.perf_counter(), [], 0, 0.0
        for inputs, labels in batches:
            rate = float(scheduler.get_last_lr()[0])
            with torch.autocast(inputs.device.type, precision, enabled=precision != torch.float32):
                embeddings = model(inputs)
            loss = objective(embeddings.float(), labels)
            optimizer.zero_grad()
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(trainable, clip)
            optimizer.step()
            scheduler.step()
            losses.append(loss.detach())
            images += len(labels)
        mean = float(torch.stack(losses).mean())  # the one wait for the device in an epoch
        yield Epoch(number, mean, rate, time.perf_counter() - start, images)


class Rates(NamedTuple):
    """Learning rates."""

    trunk: float
    head: float
    """Of the rest of the model."""
    loss: float
    """Of the objective."""


def optimizer(
    model: nn.Module,
    objective: nn.Module,
    rates: Rates,
    *,
    weight_decay: float,
    kind: str = "adamw",
    momentum: float = 0.9,
) -> Optimizer:
    """An optimizer with one group each for the model's `trunk`, the rest of the model, and the objective.

    `kind` is adamw, adam, rmsprop or sgd; the last two have the momentum. Modules of the objective that have
    `learns_as_head`, since they make embeddings of embeddings, learn at the head's rate.

    Raises:
        AssertionError: a trainable tensor is in no group or in two.
    """
    trunk_tensors = _trainable(model.get_submodule("trunk"))
    heads = [module for module in objective.modules() if getattr(module, "learns_as_head", False)]
    own = {id(tensor): tensor for module in heads for tensor in _trainable(module)}
    head_tensors = [*_without(_trainable(model), trunk_tensors), *own.values()]
    groups = [trunk_tensors, head_tensors, _without(_trainable(objective), own.values())]
    grouped = [id(tensor) for tensors in groups for tensor in tensors]
    everything = {id(t) for t in (*model.parameters(), *objective.parameters()) if t.requires_grad}
    assert sorted(grouped) == sorted(everything), "a tensor is trained twice or never"
    rated: list[dict[str, Any]] = [{"params": tensors, "lr": rate} for tensors, rate in zip(groups, rates, strict=True)]
    match kind:
        case "rmsprop":
            return RMSprop(rated, weight_decay=weight_decay, momentum=momentum)
        case "sgd":
            return SGD(rated, weight_decay=weight_decay, momentum=momentum)
        case "adam":
            return Adam(rated, weight_decay=weight_decay)
        case _:
            return AdamW(rated, weight_decay=weight_decay)


def _without(tensors: Iterable[Tensor], others: Iterable[Tensor]) -> list[Tensor]:
    left_out = {id(tensor) for tensor in others}
    return [tensor for tensor in tensors if id(tensor) not in left_out]


def _trainable(module: nn.Module) -> list[Tensor]:
    return [tensor for tensor in module.parameters() if tensor.requires_grad]


def schedule(kind: str, epochs: int, *, warmup: float = 0.0, step: int = 10, factor: float = 0.5) -> Schedule:
    """Linear warm-up over `warmup` epochs; "cosine" to zero, "step" (× `factor` every `step` epochs) or "constant"."""

    def decay(epoch: float) -> float:
        if kind == "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(1.0, epoch / max(epochs, 1))))
        return float(factor ** (epoch // step)) if kind == "step" else 1.0

    def rate(epoch: float) -> float:
        ramp = min(1.0, (epoch + 1e-3) / warmup) if warmup else 1.0
        return ramp * decay(epoch)

    return rate
