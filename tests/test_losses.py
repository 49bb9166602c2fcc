"""Contracts that every loss keeps: a loss is tested here from the moment its family lists it."""

import importlib
import pkgutil

import pytest
import torch
from sample_batches import CLASSES, Loss, assert_same, batch, build, value_and_gradients

import losses


def families() -> list[str]:
    names = [module.name for module in pkgutil.iter_modules(losses.__path__)]
    return [name for name in names if name not in ("shape", "ensembles")]


def every_loss() -> list[Loss]:
    modules = [importlib.import_module(f"losses.{family}") for family in families()]
    return [getattr(module, name) for module in modules for name in module.__all__]


@pytest.mark.parametrize("loss", every_loss(), ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_loss_is_a_finite_scalar_and_its_gradient_reaches_everything(loss: Loss, dtype: torch.dtype) -> None:
    value, gradients = value_and_gradients(build(loss, dtype), *batch(dtype=dtype))
    assert value.shape == ()
    assert value.dtype == dtype
    assert value.isfinite()
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)


@pytest.mark.parametrize("loss", every_loss(), ids=lambda loss: loss.__name__)
def test_float32_agrees_with_float64(loss: Loss) -> None:
    single = value_and_gradients(build(loss, torch.float32), *batch(dtype=torch.float32))
    embeddings, labels = batch(dtype=torch.float32)
    double = value_and_gradients(build(loss, torch.float32).double(), embeddings.double(), labels)
    assert_same(single, (double[0].float(), [gradient.float() for gradient in double[1]]), 2e-4)


@pytest.mark.parametrize("loss", every_loss(), ids=lambda loss: loss.__name__)
def test_batch_order_does_not_matter(loss: Loss) -> None:
    embeddings, labels = batch()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    value, (gradient, *others) = value_and_gradients(build(loss), embeddings, labels)
    shuffled = value_and_gradients(build(loss), embeddings[order], labels[order])
    assert_same(shuffled, (value, [gradient[order], *others]), 1e-9)


@pytest.mark.parametrize("loss", every_loss(), ids=lambda loss: loss.__name__)
def test_docstring_cites_its_source(loss: Loss) -> None:
    assert loss.__doc__
    assert any(char.isdigit() for char in loss.__doc__.splitlines()[0].partition("(")[2])


HARD_BATCHES = {
    "one class": (slice(None), torch.zeros_like),
    "all classes different": (slice(CLASSES), lambda labels: torch.arange(len(labels))),
    "a single image": (slice(1), lambda labels: labels),
    "duplicated rows": (torch.arange(24) // 2, lambda labels: labels),
    "duplicates across classes": (torch.arange(24) // 4, lambda labels: torch.arange(len(labels)) % CLASSES),
    "all rows the same": (torch.zeros(24, dtype=torch.long), lambda labels: labels),
}


@pytest.mark.parametrize("case", HARD_BATCHES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("loss", every_loss(), ids=lambda loss: loss.__name__)
def test_hard_batches_stay_finite_and_keep_a_graph(loss: Loss, dtype: torch.dtype, case: str) -> None:
    rows, relabel = HARD_BATCHES[case]
    embeddings, labels = batch(dtype=dtype)
    module = build(loss, dtype)
    embeddings = embeddings[rows].clone().requires_grad_()
    module(embeddings, relabel(labels[rows])).backward()
    gradients = [embeddings.grad, *(p.grad for p in module.parameters())]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
