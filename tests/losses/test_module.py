"""A loss as a module: copied, pickled, stored, printed and compiled like any other."""

import copy
import io
import pickle
from collections.abc import Sequence
from functools import partial

import pytest
import torch
from support.sample_batches import CLASSES, DIM, Loss, batch, build, shape
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from bench.matrix.catalogue import entries
from losses import (
    Shape,
    binomial_deviance,
    contrastive,
    margin,
    multi_similarity,
    proxy_anchor,
    slices,
    softmax,
    sum,
    triplet,
    weighted,
)
from losses.members import shares
from losses.module import Loss as Module

LOSSES = {name: entry.function() for name, entry in entries("losses").items()}
BREAKS = {"smooth_ap", "pnp", "recall_at_k_surrogate", "sup_ap", "roadmap"}
"""They ask for the size of the largest class: a number that decides how much there is to compute."""

every = pytest.mark.parametrize("name", LOSSES)


def value(module: nn.Module, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return module(*batch(seed=seed))


@every
def test_copied_pickled_and_stored(name: str) -> None:
    module = build(LOSSES[name])
    value(module, 1)
    again, file = build(LOSSES[name]), io.BytesIO()
    for tensor in again.parameters():
        tensor.data.zero_()
    torch.save(module.state_dict(), file)
    file.seek(0)
    again.load_state_dict(torch.load(file, weights_only=True))
    expected = value(copy.deepcopy(module))
    assert torch.equal(value(pickle.loads(pickle.dumps(module))), expected)
    assert torch.equal(value(again), expected)


@every
def test_printed_by_its_name_and_settings(name: str) -> None:
    text = repr(build(LOSSES[name]))
    assert text.startswith(f"{name}(")
    if isinstance(build(LOSSES[name]), Module):
        assert all(f"{setting}={number!r}" in text for setting, number in build(LOSSES[name]).settings.items())


def test_printed_as_it_is_called() -> None:
    assert repr(multi_similarity(shape())) == "multi_similarity(alpha=2.0, beta=50.0, base=0.5, epsilon=0.1)"
    assert repr(proxy_anchor(Shape(8, 5))) == "proxy_anchor(margin=0.1, alpha=32.0, proxies=[5, 8])"


def test_tensors_are_parameters_or_buffers_by_what_they_are() -> None:
    fixed, learned = margin(Shape(8, 5), learn_beta="no"), margin(Shape(8, 5), learn_beta="class")
    assert (dict(fixed.named_parameters()).keys(), dict(fixed.named_buffers()).keys()) == (set(), {"beta"})
    assert [(name, tuple(tensor.shape)) for name, tensor in learned.named_parameters()] == [("beta", (5,))]


def test_a_loss_of_your_own_is_a_function() -> None:
    def pull(embeddings: Tensor, labels: Tensor, *, centers: Tensor, power: int) -> Tensor:
        return (embeddings - centers[labels]).norm(dim=1).pow(power).mean()

    def pulled(shape: Shape) -> nn.Module:
        centers = nn.Parameter(torch.zeros(shape.classes, shape.dim))
        return Module(shape, pull, classes=shape.classes, centers=centers, power=2)

    embeddings, _ = batch()
    assert value(build(pulled)).item() == pytest.approx(embeddings.square().sum(1).mean().item())
    assert torch.isfinite(value(build(lambda shape: sum(shape, [pulled, triplet]))))


def compiled(module: nn.Module, steps: int) -> tuple[list[Tensor], CompileCounter]:
    torch._dynamo.reset()
    counter = CompileCounter()
    graph = torch.compile(module, fullgraph=True, backend=counter)
    return [value(graph, seed) for seed in range(steps)], counter


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in BREAKS])
def test_a_compiled_loss_is_one_graph(name: str) -> None:
    found, counter = compiled(build(LOSSES[name]), 2)
    assert counter.frame_count == 1
    plain = build(LOSSES[name])
    torch.testing.assert_close(found, [value(plain, seed) for seed in range(2)])


PAIRS = [triplet, contrastive, binomial_deviance]


@pytest.mark.parametrize("ensemble", [sum, weighted, slices], ids=lambda ensemble: ensemble.__name__)
@pytest.mark.parametrize("members", [PAIRS, [softmax, partial(sum, members=PAIRS)]], ids=["pairs", "nested"])
def test_a_compiled_ensemble_is_one_graph(ensemble: Loss, members: Sequence[Loss]) -> None:
    """Two in all: what members noted is added up from the second batch on."""
    found, counter = compiled(build(lambda shape: ensemble(shape, members)), 3)
    assert counter.frame_count <= 2
    plain = build(lambda shape: ensemble(shape, members))
    torch.testing.assert_close(found, [value(plain, seed) for seed in range(3)])


@pytest.mark.parametrize("name", ["diverse_heads", "compressed_heads", "uncertainty"])
def test_other_ensembles_are_one_graph_too(name: str) -> None:
    ensemble = entries("ensembles")[name].function()
    assert compiled(build(lambda shape: ensemble(shape, PAIRS[:2])), 3)[1].frame_count <= 2


def test_members_of_a_compiled_ensemble_are_told_apart_as_ever() -> None:
    module, plain = (build(lambda shape: sum(shape, PAIRS)) for _ in range(2))
    torch._dynamo.reset()
    graph = torch.compile(module, fullgraph=True, backend="eager")
    for seed in range(3):
        value(graph, seed), value(plain, seed)
    assert [share.value for share in shares(module)] == pytest.approx([share.value for share in shares(plain)])


def test_what_the_batch_needs_is_the_shape_it_was_built_for() -> None:
    assert (build(proxy_anchor).dim, build(proxy_anchor).classes) == (DIM, CLASSES)
    assert build(triplet).classes is None
