"""What a loss or an ensemble says to a batch that is not right, and in which precision it computes one that is."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from support.sample_batches import CLASSES, DIM, Loss, batch, build, shape, value_and_gradients
from torch import Tensor, nn

from bench.matrix.catalogue import entries
from losses import contrastive, proxy_nca, softmax, triplet
from losses.batch_checks import whole_labels

PARTS = {**entries("losses"), **entries("ensembles")}
WAITING = {"smooth_ap", "pnp", "sup_ap", "roadmap", "recall_at_k_surrogate"}
"""Losses that wait for the device in every step: for the size of the largest class."""

every = pytest.mark.parametrize("name", PARTS)


def part(name: str) -> Loss:
    function = PARTS[name].function()
    if PARTS[name].kind == "losses":
        return function
    return lambda shape: function(shape, [contrastive] if name == "cross_batch_memory" else [triplet, softmax])


FAULTS: dict[str, tuple[Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], str]] = {
    "no rows": (lambda x, y: (x[0], y), r"embeddings must be \[batch, dim\]"),
    "images": (lambda x, y: (x[:, :, None], y), r"embeddings must be \[batch, dim\]"),
    "too narrow": (lambda x, y: (x[:, 1:], y), f"embeddings of {DIM} dimensions, not {DIM - 1}"),
    "too wide": (lambda x, y: (torch.cat([x, x], 1), y), f"embeddings of {DIM} dimensions, not {2 * DIM}"),
    "whole numbers": (lambda x, y: (x.long(), y), "embeddings must be floating-point numbers"),
    "a label too few": (lambda x, y: (x, y[1:]), r"one label per embedding, \[24\], not \[23\]"),
    "labels in a column": (lambda x, y: (x, y[:, None]), r"one label per embedding, \[24\], not \[24, 1\]"),
    "nothing": (lambda x, y: (x[:0], y[:0]), "the batch is empty"),
    "fractions": (lambda x, y: (x, y.float()), "labels must be the whole numbers of classes, not torch.float32"),
    "yes or no": (lambda x, y: (x, y > 2), "labels must be the whole numbers of classes, not torch.bool"),
    "negative": (lambda x, y: (x, y - 1), "labels must be 0 or more, not -1"),
    "ignored": (lambda x, y: (x, y.masked_fill(y == 0, -100)), "labels must be 0 or more, not -100"),
}


@every
@pytest.mark.parametrize("fault", FAULTS)
def test_a_batch_that_is_not_right_is_one_sentence(name: str, fault: str) -> None:
    spoil, sentence = FAULTS[fault]
    with pytest.raises(ValueError, match=sentence):
        build(part(name))(*spoil(*batch()))


@pytest.mark.parametrize("name", [name for name, entry in PARTS.items() if entry.kind == "losses" and entry.trains])
def test_labels_must_be_below_the_number_of_classes(name: str) -> None:
    embeddings, labels = batch()
    with pytest.raises(ValueError, match=f"labels must be below {CLASSES}, .* not {CLASSES}"):
        build(part(name))(embeddings, labels + 1)


@pytest.mark.parametrize("loss", [triplet, contrastive])
def test_a_loss_with_nothing_per_class_takes_any_classes(loss: Loss) -> None:
    embeddings, labels = batch()
    assert build(loss)(embeddings, labels + 1000) == build(loss)(embeddings, labels)


@every
@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8], ids=str)
def test_whole_numbers_of_any_size_are_labels(name: str, dtype: torch.dtype) -> None:
    embeddings, labels = batch()
    value, gradients = value_and_gradients(build(part(name)), embeddings, labels)
    other, same = value_and_gradients(build(part(name)), embeddings, labels.to(dtype))
    assert torch.equal(value, other)
    assert all(torch.equal(one, two) for one, two in zip(gradients, same, strict=True))


def lesson(module: nn.Module, dtype: torch.dtype, *, autocast: bool) -> list[Tensor]:
    torch.manual_seed(0)
    embeddings, labels = batch(dtype=dtype)
    embeddings.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        value = module(embeddings, labels)
    return [value.detach(), *torch.autograd.grad(value, [embeddings, *module.parameters()])]


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_autocast_changes_nothing(name: str, dtype: torch.dtype) -> None:
    """Embeddings in bfloat16 are what a model gives under it: their parameters stay in single precision."""
    plain = lesson(build(part(name), torch.float32), dtype, autocast=False)
    under = lesson(build(part(name), torch.float32), dtype, autocast=True)
    assert plain[0].dtype == torch.float32
    assert all(torch.equal(one, two) for one, two in zip(plain, under, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@every
def test_a_step_does_not_wait_for_the_device(name: str) -> None:
    module = build(part(name), torch.float32).cuda()
    embeddings, labels = (tensor.cuda() for tensor in batch(dtype=torch.float32))
    embeddings.requires_grad_()
    module(embeddings, labels).backward()
    waits = pytest.raises(RuntimeError, match="synchronizing CUDA operation") if name in WAITING else nullcontext()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with waits:
            module(embeddings, labels).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_labels_elsewhere_are_not_looked_at() -> None:
    """The meta device has no numbers: to look at them would fail."""
    embeddings, labels = torch.empty(4, DIM, device="meta"), torch.empty(4, dtype=torch.long, device="meta")
    assert whole_labels(embeddings, labels, dim=DIM, classes=2) is labels


def test_a_slice_says_what_the_whole_should_be() -> None:
    module = PARTS["diverse_heads"].function()(shape(), [triplet, proxy_nca])
    with pytest.raises(ValueError, match=f"embeddings of {DIM} dimensions, not 12"):
        module.readout(torch.randn(3, 12))
