"""Losses of pytorch-metric-learning as objectives: the very objects that people train with, told of the job's sizes."""

import copy
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from bench.matrix.catalogue import did_you_mean
from bench.matrix.pml_arguments import GIVEN, PARTS
from bench.matrix.pml_source import made
from losses.batch_checks import exact, whole_labels
from losses.pairwise import single
from losses.shape import Shape

__all__ = ["pml_loss"]

TRIED = 4
"""Classes in the batch that a loss is tried on, and the most images of each."""


def pml_loss(name: str, shape: Shape, *, miner: Mapping[str, Any] | None = None, **parameters: Any) -> nn.Module:
    """The loss of that name, and the miner that picks its pairs or triplets from each batch.

    Args:
        name: a class of pytorch_metric_learning.losses.
        shape: what decides its number of classes and its width.
        miner: of a loss that does not hold one itself.
        parameters: all that it has, parts as tables of a name and parameters.

    Raises:
        ValueError: pytorch-metric-learning refuses the parameters, or what they make cannot learn from a batch.
    """
    whole = made("losses")[name]
    own = {"miner": miner} if "miner" in whole.arguments else {}
    mines = None if own or miner is None else _built("miners", miner, shape)
    loss = _built("losses", {"name": name, **parameters, **own}, shape)
    objective = PmlLoss(loss, mines, shape, classes=shape.classes if "num_classes" in whole.given else None)
    _try(objective, shape, name)
    return objective


class PmlLoss(nn.Module):
    """(embeddings [B, dim], labels [B]) -> scalar: the value of a loss of pytorch-metric-learning."""

    def __init__(self, loss: nn.Module, miner: nn.Module | None, shape: Shape, *, classes: int | None) -> None:
        """A loss, what finds its pairs or triplets, and what labels must be below, where it has vectors per class."""
        super().__init__()
        self.loss = loss
        self.miner = miner
        self.dim = shape.dim
        self.classes = classes

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch; not a number where the embeddings are none and the loss fails because of that."""
        labels = whole_labels(embeddings, labels, dim=self.dim, classes=self.classes)
        with exact(embeddings):
            points = single(embeddings)
            try:
                value = self._value(points, labels)
            except Exception:
                if torch.isfinite(points).all():
                    raise
                value = points.sum() * torch.nan
        self._forget_gradients()
        return value

    def _value(self, points: Tensor, labels: Tensor) -> Tensor:
        mined = [] if self.miner is None else [self.miner(points, labels)]
        value: Tensor = self.loss(points, labels, *mined)
        # Not a number where an embedding is none: some losses leave such images out, and the model would seem to learn.
        return value.reshape(()) + 0 * points.sum()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "PmlLoss":
        """Moved to a device, a loss takes along the tensors that are neither parameters nor buffers."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for module in self.loss.modules():
            for name, kept in vars(module).items():
                if isinstance(kept, Tensor):
                    setattr(module, name, fn(kept))
        return self

    def _forget_gradients(self) -> None:
        """What a loss keeps of this batch, such as a histogram, passes no gradient to it from the next one."""
        for module in self.loss.modules():
            for name, kept in vars(module).items():
                if isinstance(kept, Tensor) and kept.grad_fn is not None:
                    setattr(module, name, kept.detach())

    def get_extra_state(self) -> dict[str, dict[str, Any]]:
        """What losses and miners keep beside parameters and buffers: the place in a memory, a histogram."""
        return {name: kept for name, module in self.named_modules() if name and (kept := _kept(module))}

    def set_extra_state(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Puts back what `get_extra_state` gave."""
        for name, kept in state.items():
            module = self.get_submodule(name)
            for attribute, value in kept.items():
                setattr(module, attribute, _beside(getattr(module, attribute, None), value))

    def extra_repr(self) -> str:
        """The width of the embeddings."""
        return f"dim={self.dim}"


def _beside(own: Any, value: Any) -> Any:
    """The value, a tensor on the device of the one that it takes the place of."""
    return value.to(own.device) if isinstance(own, Tensor) and isinstance(value, Tensor) else value


def _kept(module: nn.Module) -> dict[str, Any]:
    """Plain numbers and tensors among the attributes of a module."""
    plain = {name: own for name, own in vars(module).items() if name[0] != "_" and name != "training"}
    tensors = {name: own.detach().clone() for name, own in plain.items() if isinstance(own, Tensor)}
    return tensors | {name: own for name, own in plain.items() if type(own) in (bool, int, float)}


def _built(group: str, table: Mapping[str, Any], shape: Shape) -> Any:
    """The object that a table of a name and parameters describes."""
    name = table["name"]
    whole = made(group)[name]
    arguments = {each: _argument(each, value, shape) for each, value in table.items() if each in whole.arguments}
    arguments |= {each: getattr(shape, GIVEN[each]) for each in whole.given}
    if group == "initializers":
        return partial(getattr(nn.init, name), **arguments)
    try:
        built = getattr(import_module(f"pytorch_metric_learning.{group}"), name)(**arguments)
    except Exception as error:
        raise ValueError(f"pytorch-metric-learning cannot build {name}: {_why(error)}") from error
    if group == "losses":
        _check_reducers(built, (table.get("reducer") or {}).get("reducers", {}))
    return built


def _check_reducers(loss: Any, reducers: Mapping[str, Any]) -> None:
    """The parts of a loss that reducers are named after: any other name would change nothing."""
    for name in reducers:
        if name not in (known := loss.sub_loss_names()):
            raise ValueError(f"{type(loss).__name__} has no part {name!r} to be reduced{did_you_mean(name, known)}")


def _argument(name: str, value: Any, shape: Shape) -> Any:
    if name in PARTS:
        return None if value is None else _built(PARTS[name], value, shape)
    if name == "reducers":
        return {each: _built(name, part, shape) for each, part in value.items()}
    if name == "num_classes":  # of MarginLoss: a beta of its own for each class, or one for all
        return shape.classes if value else None
    if name == "weights":
        if len(value) != shape.classes:
            raise ValueError(f"there are {len(value)} weights for {shape.classes} training classes: give one per class")
        return torch.tensor(value)
    return value


def _try(objective: PmlLoss, shape: Shape, name: str) -> None:
    """Let a copy learn from a batch of random embeddings, so that parts that do not fit are found before training."""
    classes, images = min(TRIED, shape.classes), min(TRIED, shape.images_per_class or TRIED)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        points = torch.randn(classes * images, shape.dim).requires_grad_()
        labels = torch.arange(classes).repeat_interleave(images)
        try:
            copy.deepcopy(objective)(points, labels).backward()
        except Exception as error:
            raise ValueError(f"pml/{name} cannot learn as it is put together: {_why(error)}") from error


def _why(error: Exception) -> str:
    """What an error says, in one line; of one that says nothing, the line of code that raised it."""
    said = " ".join(str(error).split())
    if said:
        return said
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {last.line}"
