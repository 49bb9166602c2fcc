"""Training: a generator, one epoch a step; evaluating, logging and stopping are the caller's loop body."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import LambdaLR

__all__ = ["Epoch", "Schedule", "optimizer", "schedule", "train"]

Schedule = Callable[[float], float]
"""Epochs passed, as a fraction -> factor of every learning rate."""


class Epoch(NamedTuple):
    """What one epoch leaves to be written down."""

    epoch: int
    loss: float
    """Mean over the epoch's batches; not finite when training diverged."""
    rate: float
    """Learning rate of the trunk at the epoch's last step."""
    seconds: float
    images: int


def train(
    model: nn.Module,
    objective: nn.Module,
    epochs: Iterable[Iterable[tuple[Tensor, Tensor]]],
    *,
    optimizer: Optimizer,
    schedule: Schedule,
    steps: int,
    clip: float | None = None,
    precision: torch.dtype = torch.float32,
) -> Iterator[Epoch]:
    """Train and yield after every epoch.

    Args:
        model: images -> embeddings [B, dim].
        objective: (embeddings, labels) -> scalar.
        epochs: for every epoch its batches, (images float [B, C, H, W], labels [B]) on the model's device.
        optimizer: holds every trainable tensor of both; its first group is the trunk's.
        schedule: factor of the learning rates, asked at every step.
        steps: batches an epoch.
        clip: largest norm of the gradient of all trainable tensors together.
        precision: bfloat16 runs the model under autocast; the objective always sees float32.
    """
    scheduler = LambdaLR(optimizer, lambda step: schedule(step / steps))
    trainable = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    for number, batches in enumerate(epochs, start=1):
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


def optimizer(
    model: nn.Module,
    objective: nn.Module,
    *,
    trunk: float,
    head: float,
    loss: float,
    weight_decay: float,
    kind: str = "adamw",
    momentum: float = 0.9,
) -> Optimizer:
    """An optimizer with a learning rate each for the model's `trunk`, the rest of the model, and the objective.

    `kind` is adamw, adam, rmsprop or sgd; the last two have the momentum. Modules of the objective that have
    `learns_as_head`, since they make embeddings of embeddings, learn at the head's rate.

    Raises:
        AssertionError: a trainable tensor is in no group or in two.
    """
    trunk_tensors = _trainable(model.get_submodule("trunk"))
    heads = [module for module in objective.modules() if getattr(module, "learns_as_head", False)]
    own = {id(tensor): tensor for module in heads for tensor in _trainable(module)}
    head_tensors = [*_without(_trainable(model), trunk_tensors), *own.values()]
    groups = [(trunk_tensors, trunk), (head_tensors, head), (_without(_trainable(objective), own.values()), loss)]
    grouped = [id(tensor) for tensors, _ in groups for tensor in tensors]
    everything = {id(t) for t in (*model.parameters(), *objective.parameters()) if t.requires_grad}
    assert sorted(grouped) == sorted(everything), "a tensor is trained twice or never"
    rated: list[dict[str, Any]] = [{"params": tensors, "lr": rate} for tensors, rate in groups]
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
