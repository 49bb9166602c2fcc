"""Contracts that every loss keeps: a loss is tested here from the moment its family lists it."""

import pytest
import torch
from support.sample_batches import CLASSES, DIM, Loss, assert_same, batch, build, shape, value_and_gradients
from torch import Tensor, nn

from bench.job.objective_contract import HARD_BATCHES
from bench.matrix.catalogue import entries
from losses.module import compares
from losses.pairwise import References
from losses.shape import Unsuitable

LOSSES = entries("losses")
SINGLE = 2e-4
"""What rounding to single precision may change."""

every = pytest.mark.parametrize("name", LOSSES)


def loss_named(name: str) -> Loss:
    return LOSSES[name].function()


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_loss_is_a_finite_scalar_and_its_gradient_reaches_everything(name: str, dtype: torch.dtype) -> None:
    value, gradients = value_and_gradients(build(loss_named(name), dtype), *batch(dtype=dtype))
    assert value.shape == ()
    assert value.dtype == (dtype if dtype != torch.bfloat16 else torch.float32)
    assert value.isfinite()
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)
    assert all(gradient.dtype == dtype for gradient in gradients)


@every
def test_float32_agrees_with_float64(name: str) -> None:
    single = value_and_gradients(build(loss_named(name), torch.float32), *batch(dtype=torch.float32))
    embeddings, labels = batch(dtype=torch.float32)
    double = value_and_gradients(build(loss_named(name), torch.float32).double(), embeddings.double(), labels)
    assert_same(single, (double[0].float(), [gradient.float() for gradient in double[1]]), SINGLE)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@every
def test_cuda_agrees_with_the_processor(name: str) -> None:
    embeddings, labels = batch()
    value, gradients = value_and_gradients(build(loss_named(name)), embeddings, labels)
    there = value_and_gradients(build(loss_named(name)).cuda(), embeddings.cuda(), labels.cuda())
    assert_same((there[0].cpu(), [gradient.cpu() for gradient in there[1]]), (value, gradients), 1e-8)


@every
def test_batch_order_does_not_matter(name: str) -> None:
    """Up to rounding; a loss that takes the first images of each class, in batch order, says so and may."""
    embeddings, labels = batch()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    if "in batch order" in " ".join(LOSSES[name].text.split()):
        order = labels.sort(stable=True).indices.view(CLASSES, -1)[[3, 1, 0, 5, 2, 4]].T.flatten()
    value, (gradient, *others) = value_and_gradients(build(loss_named(name)), embeddings, labels)
    shuffled = value_and_gradients(build(loss_named(name)), embeddings[order], labels[order])
    assert_same(shuffled, (value, [gradient[order], *others]), 1e-9)


@every
def test_docstring_cites_its_source(name: str) -> None:
    assert any(char.isdigit() for char in LOSSES[name].citation)


@every
def test_docstring_says_what_is_trained(name: str) -> None:
    assert bool(LOSSES[name].trains) == bool(list(build(loss_named(name)).parameters()))


@every
def test_docstring_says_what_is_needed(name: str) -> None:
    """Text: without it, a sentence. P × K batches: an image alone teaches nothing (or is said to teach little)."""
    assert set(LOSSES[name].needs) <= {"text", "P × K batches"}
    if "text" in LOSSES[name].needs:
        with pytest.raises(Unsuitable, match="text"):
            loss_named(name)(shape()._replace(text=None))
    else:
        loss_named(name)(shape()._replace(text=None))
    embeddings, labels = batch()
    _, (gradient, *_) = value_and_gradients(build(loss_named(name)), embeddings[:1], labels[:1])
    assert gradient.any() or "P × K batches" in LOSSES[name].needs


@every
def test_labels_need_not_be_the_class_numbers_in_order(name: str) -> None:
    """A batch holds a few of the training classes, not the first ones."""
    embeddings, labels = batch()
    some = labels >= 2
    value, gradients = value_and_gradients(build(loss_named(name)), embeddings[some], labels[some])
    assert value.isfinite()
    assert gradients[0].any()


def takes_references(name: str) -> bool:
    return compares(build(loss_named(name)))


def draws(name: str) -> bool:
    module = build(loss_named(name))
    return bool(module(*batch()) != module(*batch()))


@pytest.mark.parametrize("name", [name for name in LOSSES if takes_references(name) and not draws(name)])
def test_the_batch_itself_as_references_is_the_batch(name: str) -> None:
    """Also where they stand in another order, and each image knows its own."""
    embeddings, labels = batch()
    module = build(loss_named(name))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))

    class WithReferences(nn.Module):
        def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
            value: Tensor = module(embeddings, labels, References(embeddings[order], labels[order], order.argsort()))
            return value

    value, (gradient, *_) = value_and_gradients(module, embeddings, labels)
    assert_same(value_and_gradients(WithReferences(), embeddings, labels), (value, [gradient]), 1e-9)


@pytest.mark.parametrize("case", HARD_BATCHES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@every
def test_hard_batches_stay_finite_and_keep_a_graph(name: str, dtype: torch.dtype, case: str) -> None:
    rows, relabel = HARD_BATCHES[case]
    embeddings, labels = batch(dtype=dtype)
    module = build(loss_named(name), dtype)
    embeddings = embeddings[rows].clone().requires_grad_()
    value = module(embeddings, relabel(labels[rows]))
    value.backward()
    gradients = [embeddings.grad, *(p.grad for p in module.parameters())]
    assert value.isfinite()
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


@every
def test_embeddings_that_are_zero_stay_finite(name: str) -> None:
    embeddings = torch.zeros(8, DIM, requires_grad=True)
    value = build(loss_named(name), torch.float32)(embeddings, torch.arange(8) // 2)
    value.backward()
    assert value.isfinite()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


@every
@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_embeddings_that_are_not_numbers_give_a_loss_that_is_not_one(name: str, broken: float) -> None:
    """Training then ends as diverged, with its epoch, not with a traceback."""
    embeddings, labels = batch()
    embeddings[3] = broken
    value = build(loss_named(name))(embeddings, labels)
    assert not value.isfinite()
