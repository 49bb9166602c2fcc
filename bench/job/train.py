"""Training: a generator, one epoch per step; evaluating, logging and stopping are the caller's loop body."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from bench.job.gradient_cache import in_parts

__all__ = ["Epoch", "Inside", "Snapshot", "Training", "train"]


STATEFUL = ("model", "objective", "optimizer", "scheduler")
"""Fields of a training that keep a state as torch's modules do."""
AT_ONCE = ("batches",)
"""Generators that draw all of an epoch when it begins; the others draw batch by batch."""


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

    @classmethod
    def of(cls, state: dict[str, Any], device: torch.device) -> "Snapshot":
        """What `_asdict` gave, with its tensors on the device."""
        moved = {name: state[name].to(device) for name in ("embeddings", "training")}
        return cls(**state | moved)


@dataclass
class Inside:
    """How far a training is in the epoch that follows its history."""

    begun: dict[str, Tensor]
    """States of the generators that draw all of an epoch at once, as it began."""
    losses: list[Tensor] = field(default_factory=list)
    """Of its batches so far: so their number is the position."""
    rate: float = 0.0
    """Of the trunk, at its last step."""
    images: int = 0
    seconds: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        """All of it as tensors and numbers."""
        return vars(self) | {"losses": torch.stack(self.losses) if self.losses else torch.empty(0)}

    @classmethod
    def of(cls, state: dict[str, Any], device: torch.device) -> "Inside":
        """What `state_dict` gave, with the losses on the device."""
        return cls(**state | {"losses": list(state["losses"].to(device).unbind())})


@dataclass
class Training:
    """A model that is being trained, and all that is needed to continue after any of its steps."""

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
    head_steps: int = 0
    """First steps in which the trunk does not learn: no gradient goes into it, and it is in evaluation mode."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One entry per epoch so far: so its length is the position."""
    members: list[dict[str, Any]] = field(default_factory=list)
    """One entry per epoch and member of an ensemble."""
    best: Snapshot | None = None
    """The best epoch so far, where held-out classes select one."""
    inside: Inside | None = None
    """How far it is in an epoch; None between two."""

    @property
    def device(self) -> torch.device:
        """What trains."""
        device: torch.device = next(tensor.device for tensor in self.model.state_dict().values())
        return device

    def state_dict(self) -> dict[str, Any]:
        """Everything as tensors, numbers and text, which `torch.load` reads with `weights_only`; torch's own too."""
        begun = self.inside.begun if self.inside else {}
        cuda = [torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else []
        return {
            **{name: getattr(self, name).state_dict() for name in STATEFUL},
            "generators": {purpose: one.get_state() for purpose, one in self.generators.items()} | begun,
            "torch": [torch.get_rng_state(), *cuda],
            "history": list(self.history),
            "members": list(self.members),
            "best": self.best and self.best._asdict(),
            "inside": self.inside and self.inside.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where the training stood that gave this state; this one was made for the same job."""
        device = self.device
        for name in STATEFUL:
            getattr(self, name).load_state_dict(state[name])
        for purpose, one in self.generators.items():
            one.set_state(state["generators"][purpose].cpu())
        cpu, *cuda = state["torch"]
        torch.set_rng_state(cpu.cpu())
        if cuda and device.type == "cuda":
            torch.cuda.set_rng_state(cuda[0].cpu(), device)
        self.history, self.members = list(state["history"]), list(state["members"])
        self.best = Snapshot.of(state["best"], device) if state["best"] else None
        self.inside = state["inside"] and Inside.of(state["inside"], device)


def train(
    training: Training,
    epochs: Iterable[Iterable[tuple[Tensor, Tensor]]],
    *,
    clip: float | None = None,
    precision: torch.dtype = torch.float32,
    at_a_time: int | None = None,
    after_step: Callable[[], None] = lambda: None,
) -> Iterator[Epoch]:
    """Train and yield after every epoch; the first follows the last one in the history.

    A training that stands inside an epoch goes on with it.

    Args:
        training: what is trained, changed in place.
        epochs: for every epoch its batches, (images float [B, C, H, W] or vectors [B, width], labels [B]) on the
            model's device; of one that is begun those that are left.
        clip: largest norm of the gradient of all trainable tensors together.
        precision: bfloat16 runs the model under autocast; the objective always sees float32.
        at_a_time: most images whose graph is kept at once (`bench.job.gradient_cache`); None: those of the whole batch.
        after_step: called after every step; the training can be continued from the state that it has then.
    """
    model, objective = training.model, training.objective
    optimizer, scheduler = training.optimizer, training.scheduler
    trainable = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    for number, batches in enumerate(epochs, start=len(training.history) + 1):
        learns = _prepare(training)
        inside = training.inside = training.inside or Inside(_begun(training))
        clock = time.perf_counter()
        for inputs, labels in batches:
            inside.rate = float(scheduler.get_last_lr()[0])
            if not learns and scheduler.last_epoch >= training.head_steps:
                learns = _prepare(training)
            optimizer.zero_grad()
            if at_a_time is None or at_a_time >= len(labels):
                with torch.autocast(inputs.device.type, precision, enabled=precision != torch.float32):
                    embeddings = model(inputs)
                loss = objective(embeddings.float(), labels)
                loss.backward()
            else:
                loss = in_parts(model, objective, inputs, labels, at_a_time=at_a_time, precision=precision)
            if clip is not None:
                nn.utils.clip_grad_norm_(trainable, clip)
            optimizer.step()
            scheduler.step()
            inside.losses.append(loss.detach())
            inside.images += len(labels)
            inside.seconds += time.perf_counter() - clock
            after_step()  # which may take its time: that is no training
            clock = time.perf_counter()
        mean = float(torch.stack(inside.losses).mean())  # the one wait for the device in an epoch
        inside.seconds += time.perf_counter() - clock
        yield Epoch(number, mean, inside.rate, inside.seconds, inside.images)
        training.inside = None


def _begun(training: Training) -> dict[str, Tensor]:
    """Where the generators stand that draw all of an epoch when its first batch is asked for."""
    return {purpose: one.get_state() for purpose, one in training.generators.items() if purpose in AT_ONCE}


def _prepare(training: Training) -> bool:
    """Put model and objective in training mode; the trunk only if it learns in the next step. Whether it does."""
    learns = training.scheduler.last_epoch >= training.head_steps
    for tensor in training.optimizer.param_groups[0]["params"]:
        tensor.requires_grad_(learns)
    training.model.train()
    training.objective.train()
    if not learns:
        training.model.get_submodule("trunk").eval()
    return learns
