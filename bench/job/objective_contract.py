"""What every loss and every ensemble keeps to, as checks that anyone's can be put to; our own tests use them too."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.job.checkpoint import packed, unpacked
from losses.shape import Shape

__all__ = ["CHECKS", "HARD_BATCHES", "Broken", "build", "leaves"]

DIM, CLASSES, IMAGES = 16, 6, 4
Make = Callable[[Shape], nn.Module]
"""Of a loss its function, of an ensemble the function with its members."""


class Broken(Exception):
    """A check that has failed; one clause says what is wrong, and how to mend it."""


HARD_BATCHES: Mapping[str, tuple[Any, Callable[[Tensor], Tensor]]] = {
    "one class": (slice(None), torch.zeros_like),
    "all classes different": (slice(CLASSES), lambda labels: torch.arange(len(labels))),
    "a single image": (slice(1), lambda labels: labels),
    "duplicated rows": (torch.arange(24) // 2, lambda labels: labels),
    "duplicates across classes": (torch.arange(24) // 4, lambda labels: torch.arange(len(labels)) % CLASSES),
    "all rows the same": (torch.zeros(24, dtype=torch.long), lambda labels: labels),
    "unbalanced classes": (slice(None), lambda labels: labels.clamp(max=2)),
}
"""Batches that break careless losses: the rows that are taken, and what becomes of their labels."""


def build(make: Make, *, seed: int = 7, text: bool = False) -> nn.Module:
    """A module for embeddings [B, 16] of 6 classes, from a seed."""
    torch.manual_seed(seed)
    module = make(Shape(DIM, CLASSES, torch.eye(CLASSES, 12) if text else None, IMAGES))
    if not isinstance(module, nn.Module):
        raise Broken(f"it returns {type(module).__name__}: return an nn.Module")
    return module


def _batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Embeddings [24, 16] of norms far from 1, and labels in mixed order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat(IMAGES)[torch.randperm(CLASSES * IMAGES, generator=generator)]
    centres = torch.randn(CLASSES, DIM, generator=generator)
    return centres[labels] + 2 * torch.randn(len(labels), DIM, generator=generator), labels


def _value(module: nn.Module, embeddings: Tensor, labels: Tensor, *, seed: int = 3) -> Tensor:
    torch.manual_seed(seed)
    value = module(embeddings, labels)
    if not isinstance(value, Tensor):
        raise Broken(f"forward returns {type(value).__name__}: return a tensor, the mean over the batch")
    if value.shape != ():
        raise Broken(f"forward returns the shape {list(value.shape)}: return one number, for example the mean")
    if not value.isfinite():
        raise Broken(f"the value is {value.item()}: keep roots, logarithms and divisions away from 0")
    return value


def _learn(module: nn.Module, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The value, and the gradients by name, those of the embeddings under "embeddings"."""
    embeddings = embeddings.clone().requires_grad_()
    value = _value(module, embeddings, labels)
    if not value.requires_grad:
        raise Broken("the value does not depend on the embeddings: return a sum over them also where nothing is wrong")
    torch.autograd.backward(value)
    tensors = {"embeddings": embeddings, **{name: p for name, p in module.named_parameters() if p.requires_grad}}
    found = {name: tensor.grad for name, tensor in tensors.items() if tensor.grad is not None}
    bad = [name for name, gradient in found.items() if not gradient.isfinite().all()]
    if bad:
        raise Broken(f"the gradient of {bad[0]} is not finite: keep roots, logarithms and divisions away from 0")
    return value.detach(), found


def leaves(value: Tensor) -> Iterator[Tensor]:
    """All tensors that a value was computed from and that take a gradient."""
    waiting, seen = [value.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        waiting += [before for before, _ in node.next_functions]


def _is_finite(make: Make, text: bool) -> None:
    embeddings, labels = _batch()
    before = embeddings.clone()
    _value(build(make, text=text), embeddings, labels)
    if not torch.equal(before, embeddings):
        raise Broken("forward writes into the embeddings: work on a copy")


def _learns(make: Make, text: bool) -> None:
    module = build(make, text=text)
    _, gradients = _learn(module, *_batch())
    expected = ["embeddings", *(name for name, p in module.named_parameters() if p.requires_grad)]
    for name in expected:
        if name not in gradients or not gradients[name].any():
            raise Broken(f"no gradient reaches {name}: use it in forward, and do not detach it")


def _registers(make: Make, text: bool) -> None:
    module = build(make, text=text)
    embeddings, labels = _batch()
    embeddings.requires_grad_()
    known = {id(tensor) for tensor in (embeddings, *module.parameters())}
    if lost := [tensor for tensor in leaves(_value(module, embeddings, labels)) if id(tensor) not in known]:
        raise Broken(
            f"a trainable tensor of the shape {list(lost[0].shape)} is no parameter of the module, so nothing would "
            "train it: assign an nn.Parameter to self, in an nn.ParameterList if there are several"
        )


def _repeats(make: Make, text: bool) -> None:
    (one, gradients), (other, again) = (_learn(build(make, text=text), *_batch()) for _ in range(2))
    if not torch.equal(one, other) or any(not torch.equal(gradients[name], again[name]) for name in gradients):
        raise Broken("two runs differ: draw random numbers from torch alone, and do not iterate over a set")


def _ignores_order(make: Make, text: bool) -> None:
    embeddings, labels = _batch()
    value, drawn = (_value(build(make, text=text), embeddings, labels, seed=seed).detach() for seed in (3, 4))
    if value != drawn:
        return  # it draws, so that another order draws others
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    shuffled = _value(build(make, text=text), embeddings[order], labels[order]).detach()
    if (value - shuffled).abs() > 1e-3 * max(1.0, float(value.abs())):
        raise Broken(
            f"the same images in another order give {shuffled.item():g} instead of {value.item():g}: find an image's "
            "class in labels, not in its place in the batch"
        )


def _continues(make: Make, text: bool) -> None:
    straight, again = build(make, text=text), build(make, text=text)
    _steps(straight, range(2))
    tensors: dict[str, Tensor] = {}
    try:
        written = packed(straight.state_dict(), tensors)
    except TypeError as error:
        raise Broken(f"its state {error}: let get_extra_state return tensors, numbers and text") from None
    again.load_state_dict(unpacked(written, tensors))
    values = [_steps(module, range(2, 4)) for module in (straight, again)]
    if not torch.equal(*values):
        raise Broken(
            "a training that is continued from its state_dict gives another value: keep what changes while training in "
            "a buffer, or write get_extra_state and set_extra_state"
        )


def _steps(module: nn.Module, seeds: Iterable[int]) -> Tensor:
    """Let it learn from a batch of each seed; the values."""
    values = []
    for seed in seeds:
        embeddings, labels = _batch(seed)
        value, gradients = _learn(module, embeddings, labels)
        values.append(value)
        for name, parameter in module.named_parameters():
            if name in gradients:
                parameter.data -= 0.01 * gradients[name]
        module.zero_grad()
    return torch.stack(values)


def _takes_any_labels(make: Make, text: bool) -> None:
    embeddings, labels = _batch()
    some = labels >= 2
    _learn(build(make, text=text), embeddings[some], labels[some])


def _keeps_precision(make: Make, text: bool) -> None:
    value = _value(build(make, text=text), *_batch())
    if value.dtype != torch.float32:
        raise Broken(f"float32 embeddings give {value.dtype}: compute in the type of the embeddings")
    with torch.autocast("cpu", torch.bfloat16):
        _learn(build(make, text=text), *_batch())


def _survives(case: str, make: Make, text: bool) -> None:
    rows, relabel = HARD_BATCHES[case]
    embeddings, labels = _batch()
    _learn(build(make, text=text), embeddings[rows], relabel(labels[rows]))


def _survives_zeros(make: Make, text: bool) -> None:
    _learn(build(make, text=text), torch.zeros(8, DIM), torch.arange(8) // 2)


CHECKS: Mapping[str, Callable[[Make, bool], None]] = {
    "a batch of P × K gives one finite number": _is_finite,
    "finite gradients reach the embeddings and all parameters": _learns,
    "all trainable tensors are parameters of the module": _registers,
    "the same seed gives the same bits": _repeats,
    "continued from its state, it gives the same bits": _continues,
    "the order of the batch does not matter": _ignores_order,
    "a batch may hold any of the classes": _takes_any_labels,
    "float32 stays float32, and autocast does no harm": _keeps_precision,
    "embeddings of zero stay finite": _survives_zeros,
    **{f"a hard batch stays finite: {case}": partial(_survives, case) for case in HARD_BATCHES},
}
"""What is checked -> the check, of a function and whether it is to have texts. It raises Broken, or what breaks it."""
