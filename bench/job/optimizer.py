"""What moves the weights: which tensors learn at which rate, and how the rates change."""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from bench.job.uncompiled import uncompiled

__all__ = ["Rates", "Schedule", "optimizer", "schedule"]

Schedule = Callable[[float], float]
"""Epochs passed, as a fraction -> factor of every learning rate."""


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
    # One kernel for all tensors saves a GPU 7 to 23 % of a step of ResNet-50; a processor it would not make faster.
    fused = all(tensor.is_cuda for tensors in groups for tensor in tensors) or None
    match kind:
        case "rmsprop":
            return uncompiled(RMSprop)(rated, weight_decay=weight_decay, momentum=momentum)
        case "sgd":
            return uncompiled(SGD)(rated, weight_decay=weight_decay, momentum=momentum, fused=fused)
        case "adam":
            return uncompiled(Adam)(rated, weight_decay=weight_decay, fused=fused)
        case _:
            return uncompiled(AdamW)(rated, weight_decay=weight_decay, fused=fused)


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
