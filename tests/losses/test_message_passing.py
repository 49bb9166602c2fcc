"""Intra-batch connections against plain loops, torch's own transformer layer and numeric gradients, and its corners."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.sample_batches import CLASSES, DIM, batch, build, shape
from torch import Tensor, nn
from torch.nn import functional as F

from bench.job.optimizer import Rates, optimizer
from losses.ensembles import read
from losses.message_passing import MessagePassing, Step, batch_normalized, dropped, intra_batch
from losses.shape import Shape

Array = NDArray[np.float64]
Settings = dict[str, Any]


def scattered(module: nn.Module) -> nn.Module:
    """With all parameters far from where they start, so that none of them is idle."""
    generator = torch.Generator().manual_seed(3)
    for parameter in module.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return module


def module_of(**settings: Any) -> nn.Module:
    return scattered(build(lambda s: intra_batch(s, **{"dropout": 0.0, **settings})))


def linear(row: Array, layer: nn.Linear) -> Array:
    weight = layer.weight.detach().numpy()
    bias = np.zeros(len(weight)) if layer.bias is None else layer.bias.detach().numpy()
    return np.array(
        [sum(w * x for w, x in zip(line, row, strict=True)) + b for line, b in zip(weight, bias, strict=True)]
    )


def layer_norm(row: Array, norm: nn.LayerNorm) -> Array:
    mean = sum(row) / len(row)
    deviation = math.sqrt(sum((x - mean) ** 2 for x in row) / len(row) + 1e-5)
    shift = 0 if norm.bias is None else norm.bias.detach().numpy()
    return (row - mean) / deviation * norm.weight.detach().numpy() + shift


def loop_attention(rows: list[Array], step: Step, *, heads: int, idle: bool) -> list[Array]:
    """What each image hears, image by image and head by head."""
    width = DIM // heads
    heard = []
    for row in rows:
        parts = []
        for head in range(heads):
            cut = slice(head * width, (head + 1) * width)
            query = linear(row, step.query)[cut]
            exps = [math.exp(query @ linear(other, step.key)[cut] / math.sqrt(width)) for other in rows]
            total = sum(exps) + (1 if idle else 0)
            parts.append(sum(e / total * linear(other, step.value)[cut] for e, other in zip(exps, rows, strict=True)))
        heard.append(linear(np.concatenate(parts), step.out))
    return heard


def loop_step(rows: list[Array], step: Step, *, heads: int, idle: bool) -> list[Array]:
    heard = loop_attention(rows, step, heads=heads, idle=idle)
    rows = [layer_norm(row + more, step.heard) for row, more in zip(rows, heard, strict=True)]
    thought = [linear(np.maximum(linear(row, step.widen), 0), step.narrow) for row in rows]
    return [layer_norm(row + more, step.thought) for row, more in zip(rows, thought, strict=True)]


def loop_cost(rows: list[Array], labels: list[int], classifier: nn.Linear, settings: Settings) -> float:
    total = 0.0
    for row, label in zip(rows, labels, strict=True):
        logits = linear(row, classifier) / settings["temperature"]
        log_shares = logits - math.log(sum(math.exp(z) for z in logits))
        targets = [settings["smoothing"] / CLASSES + (1 - settings["smoothing"]) * (c == label) for c in range(CLASSES)]
        total -= sum(t * s for t, s in zip(targets, log_shares, strict=True))
    return total / len(rows)


def loop_loss(module: nn.Module, embeddings: Tensor, labels: Tensor, settings: Settings) -> float:
    network, authors = module.network, settings["variant"] == "authors"
    given = list(embeddings.numpy())
    rows = [row / math.sqrt(sum(x * x for x in row)) for row in given]
    if authors:
        rows = [linear(row, network.before) for row in rows]
    found = []
    for step in network.steps:
        rows = loop_step(rows, step, heads=settings["heads"], idle=authors)
        found.append(rows)
    if settings["read"] == "all":
        rows = [np.concatenate(parts) for parts in zip(*found, strict=True)]
    if authors:
        columns, scale = np.array(rows).T, network.scale.detach().numpy()
        means = [sum(column) / len(column) for column in columns]
        spread = [sum((x - m) ** 2 for x in column) / len(column) for column, m in zip(columns, means, strict=True)]
        rows = [scale * (row - means) / np.sqrt(np.array(spread) + 1e-5) for row in rows]
    loss = loop_cost(rows, labels.tolist(), module.refined, settings)
    weight = settings["classification"]
    return loss + weight * loop_cost(given, labels.tolist(), module.given, settings) if weight else loss


CASES: dict[str, Settings] = {
    "CUB": {},
    "Cars": {"heads": 8, "steps": 2, "read": "all", "temperature": 0.11},
    "one head": {"heads": 1, "smoothing": 0.0, "classification": 0.5},
    "plain": {"variant": "plain", "steps": 3, "heads": 4},
    "plain, all": {"variant": "plain", "steps": 2, "read": "all", "classification": 0.0, "temperature": 1.0},
}
DEFAULTS: Settings = {
    "heads": 2,
    "steps": 1,
    "temperature": 0.2,
    "smoothing": 0.1,
    "classification": 1.0,
    "read": "last",
    "variant": "authors",
}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_plain_loops(case: str, seed: int) -> None:
    embeddings, labels = batch(seed=seed, per_class=2)
    expected = loop_loss(module_of(**CASES[case]), embeddings, labels, DEFAULTS | CASES[case])
    assert module_of(**CASES[case])(embeddings, labels).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_numeric_ones(case: str) -> None:
    """By central differences in double precision, along random directions of the embeddings and of each parameter."""
    module, (embeddings, labels) = module_of(**CASES[case]), batch(per_class=2)
    embeddings.requires_grad_()
    tensors = [embeddings, *module.parameters()]
    gradients = torch.autograd.grad(module(embeddings, labels), tensors)
    generator = torch.Generator().manual_seed(0)
    for tensor, gradient in zip(tensors, gradients, strict=True):
        start, h = tensor.detach().clone(), 1e-6
        direction = torch.randn(start.shape, generator=generator, dtype=start.dtype)
        values = []
        for moved in (start + h * direction, start - h * direction):
            tensor.data = moved
            values.append(module(embeddings, labels).item())
        tensor.data = start
        expected = (values[0] - values[1]) / (2 * h)
        assert (gradient * direction).sum().item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("heads", [1, 2, 8])
def test_a_plain_step_is_a_transformer_layer_over_the_batch(heads: int) -> None:
    torch.manual_seed(0)
    ours = scattered(Step(DIM, heads, dropout=0.0, idle=False, shift=True).double())
    theirs = nn.TransformerEncoderLayer(DIM, heads, 4 * DIM, dropout=0.0).double()
    attention = theirs.self_attn
    attention.in_proj_weight.data = torch.cat([layer.weight for layer in (ours.query, ours.key, ours.value)]).detach()
    biases = ours.query.bias, torch.zeros(DIM).double(), ours.value.bias
    attention.in_proj_bias.data = torch.cat(biases).detach()
    pairs = {
        attention.out_proj: ours.out,
        theirs.linear1: ours.widen,
        theirs.linear2: ours.narrow,
        theirs.norm1: ours.heard,
        theirs.norm2: ours.thought,
    }
    for layer, own in pairs.items():
        layer.load_state_dict(own.state_dict())
    embeddings, _ = batch()
    torch.testing.assert_close(ours(embeddings), theirs(embeddings[:, None]).squeeze(1))


def test_batch_norm_is_torchs_in_training() -> None:
    embeddings, _ = batch()
    torch.testing.assert_close(batch_normalized(embeddings), nn.BatchNorm1d(DIM, affine=False).double()(embeddings))
    assert not batch_normalized(embeddings[:1]).any()


def test_starts_as_the_authors_network_does() -> None:
    """Logits of refined embeddings near 0: every class is as likely."""
    module, (embeddings, labels) = build(lambda s: intra_batch(s, classification=0.0, smoothing=0.0)), batch()
    assert module(embeddings, labels).item() == pytest.approx(math.log(CLASSES), abs=0.01)
    assert isinstance(module.network, MessagePassing)
    step = module.network.steps[0]
    assert not any(layer.bias.any() for layer in (step.query, step.key, step.value, step.out))
    assert step.query.weight.abs().max() <= math.sqrt(6 / (2 * DIM))  # Glorot and Bengio's


def test_an_image_hears_the_others() -> None:
    module, (embeddings, _) = module_of(), batch()
    points = F.normalize(embeddings)
    changed = torch.cat([points[:-1], -points[-1:]])
    before, after = module.network(points), module.network(changed)
    assert (before - after).abs().amax(1).min() > 1e-6


def test_dropout_leaves_out_a_share_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    values = dropped(torch.ones(400, 500), 0.1)
    assert values.unique().tolist() == pytest.approx([0, 1 / 0.9])
    assert (values == 0).float().mean().item() == pytest.approx(0.1, abs=0.003)


def test_dropout_is_drawn_for_each_batch_in_training_alone() -> None:
    embeddings, labels = batch()
    module, without = module_of(dropout=0.5), module_of()
    assert module(embeddings, labels) != module(embeddings, labels)
    assert module.eval()(embeddings, labels) == without(embeddings, labels)


def test_the_second_classifier_is_left_out_where_it_counts_nothing() -> None:
    module = build(lambda s: intra_batch(s, classification=0.0))
    assert not any(name.startswith("given") for name, _ in module.named_parameters())


def test_the_network_learns_at_the_rate_of_a_head() -> None:
    model, module = nn.Module(), intra_batch(shape())
    model.trunk = nn.Linear(3, DIM)
    _, head, own = optimizer(model, module, Rates(1e-3, 1e-2, 1e-1), weight_decay=0.0).param_groups
    assert {id(tensor) for tensor in head["params"]} == {id(tensor) for tensor in module.network.parameters()}
    classifiers = [*module.refined.parameters(), *module.given.parameters()]
    assert {id(tensor) for tensor in own["params"]} == {id(tensor) for tensor in classifiers}


def test_what_is_compared_at_test_time_is_the_embedding_itself() -> None:
    embeddings, _ = batch()
    assert torch.equal(read(module_of(), embeddings), F.normalize(embeddings))


@pytest.mark.parametrize(("dim", "heads"), [(16, 3), (2, 4)])
def test_dimensions_that_the_heads_cannot_share_are_refused(dim: int, heads: int) -> None:
    with pytest.raises(ValueError, match=f"cannot share {dim} dimensions among {heads} heads: change heads"):
        intra_batch(Shape(dim, CLASSES), heads=heads)
