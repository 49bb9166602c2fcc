"""HIST against the authors' vectors, plain loops and numeric gradients, and its corners."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support.recent_golden import assert_all_met, every_case, in_both_precisions, stored
from support.sample_batches import CLASSES, DIM, batch, build
from torch import Tensor, nn

from losses.hypergraph import class_distances, hist, hist_losses, incidence, propagation
from losses.shape import Shape

TENSORS = {
    "means": "means",
    "log_vars": "log_vars",
    "network.theta1.weight": "theta1_weight",
    "network.theta1.bias": "theta1_bias",
    "network.norm.weight": "bn_weight",
    "network.norm.bias": "bn_bias",
    "network.theta2.weight": "theta2_weight",
    "network.theta2.bias": "theta2_bias",
}
"""Our name of a parameter -> that of the vectors."""


def of_case(case: dict[str, Any], dtype: torch.dtype) -> nn.Module:
    classes, dim = case["means"].shape
    settings = {"tau": case["tau"], "alpha": case["alpha"], "classification": case["lambda_s"]}
    module = hist(Shape(dim, classes), hidden=len(case["bn_bias"]), **settings).to(dtype)
    for name, parameter in module.named_parameters():
        parameter.data = case[TENSORS[name]]
    return module


@in_both_precisions
@every_case("hist")
def test_authors_vectors_are_met(path: Path, dtype: torch.dtype) -> None:
    case = stored(path, dtype)
    module, labels = of_case(case, dtype), case["labels"]
    embeddings = case["embeddings"].requires_grad_()
    loss = module(embeddings, labels)
    inputs = {"embeddings": embeddings, **{TENSORS[name]: p for name, p in module.named_parameters()}}
    gradients = torch.autograd.grad(loss, list(inputs.values()))
    running = {
        f"bn_{name}_after": getattr(module.network.norm, name).clone() for name in ("running_mean", "running_var")
    }
    member = incidence(class_distances(embeddings, module.means, module.log_vars), labels, alpha=case["alpha"])
    spread = propagation(member)
    own = {"means": module.means, "log_vars": module.log_vars, "network": module.network}
    near, agreed = hist_losses(embeddings, labels, tau=case["tau"], alpha=case["alpha"], **own)
    computed = {
        "H": member[:, labels.unique()],
        "G": spread,
        "logits": module.network(embeddings, spread),
        "loss_dist": near,
        "loss_ce": agreed,
        "loss": loss,
        **running,
        **{f"grad_{name}": gradient for name, gradient in zip(inputs, gradients, strict=True)},
    }
    assert_all_met(path, computed, dtype)


def loop_losses(module: nn.Module, embeddings: Tensor, labels: Tensor, tau: float, alpha: float) -> tuple[float, float]:
    """The two terms, number by number."""
    rows, own = embeddings.tolist(), labels.tolist()
    n, everyone = len(rows), range(len(module.means))

    def unit(row: list[float]) -> list[float]:
        return [x / math.hypot(*row) for x in row]

    def squared(row: list[float], c: int) -> float:
        mean, log_vars = unit(module.means[c].tolist()), module.log_vars[c].tolist()
        variances = [math.exp(min(max(v, 0), 6)) for v in log_vars]
        return sum((x - m) ** 2 / v for x, m, v in zip(unit(row), mean, variances, strict=True))

    def log_likelihood(scores: list[float], c: int) -> float:
        return scores[c] - math.log(sum(math.exp(s) for s in scores))

    def linear(row: list[float], layer: nn.Linear) -> list[float]:
        weights = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
        return [sum(w * x for w, x in zip(weight, row, strict=True)) + bias for weight, bias in weights]

    d = [[squared(row, c) for c in everyone] for row in rows]
    near = -sum(log_likelihood([-tau * x for x in d[i]], own[i]) for i in range(n)) / n
    edges = sorted(set(own))
    h = [[1.0 if own[i] == c else math.exp(-alpha * d[i][c]) for c in edges] for i in range(n)]
    size = [sum(h[i][e] for i in range(n)) for e in range(len(edges))]
    g = [
        [
            sum(a * b / s for a, b, s in zip(h[i], h[j], size, strict=True)) / math.sqrt(sum(h[i]) * sum(h[j]))
            for j in range(n)
        ]
        for i in range(n)
    ]

    def spread(values: list[list[float]]) -> list[list[float]]:
        return [[sum(g[i][j] * values[j][k] for j in range(n)) for k in range(len(values[0]))] for i in range(n)]

    first = spread([linear(row, module.network.theta1) for row in rows])
    columns = []
    for k, (weight, bias) in enumerate(zip(*(p.tolist() for p in module.network.norm.parameters()), strict=True)):
        column = [row[k] for row in first]
        mean = sum(column) / n
        deviation = math.sqrt(sum((x - mean) ** 2 for x in column) / n + 1e-5)
        normalized = [(x - mean) / deviation * weight + bias for x in column]
        columns.append([x if x > 0 else 0.1 * x for x in normalized])
    logits = spread([linear(list(row), module.network.theta2) for row in zip(*columns, strict=True)])
    return near, -sum(log_likelihood(logits[i], own[i]) for i in range(n)) / n


@pytest.mark.parametrize("absent", [0, 2])
@pytest.mark.parametrize("seed", range(2))
def test_hist_agrees_with_plain_loops(seed: int, absent: int) -> None:
    """Also where the batch lacks classes; their distributions count in the first term alone."""
    module = build(lambda s: hist(s, tau=8.0, alpha=0.9, classification=0.5, hidden=7))
    module.log_vars.data[1, :3] = 7.0
    embeddings, labels = batch(seed=seed, per_class=2)
    kept = labels >= absent
    near, agreed = loop_losses(module, embeddings[kept], labels[kept], 8.0, 0.9)
    assert module(embeddings[kept], labels[kept]).item() == pytest.approx(near + agreed / 2, abs=1e-10)


def test_gradients_are_numeric_ones() -> None:
    module = build(lambda s: hist(s, tau=4.0, hidden=5))
    embeddings, labels = batch(per_class=2)
    names, parameters = zip(*module.named_parameters(), strict=True)

    def loss(embeddings: Tensor, *given: Tensor) -> Tensor:
        state = dict(zip(names, given, strict=True)) | {n: b.clone() for n, b in module.named_buffers()}
        value: Tensor = torch.func.functional_call(module, state, (embeddings, labels))
        return value

    inputs = [embeddings, *(p.detach().clone() for p in parameters)]
    assert torch.autograd.gradcheck(loss, [x.requires_grad_() for x in inputs], fast_mode=True)


def test_batch_statistics_count_in_evaluation_mode_too_and_are_then_not_noted() -> None:
    module = build(lambda s: hist(s, hidden=5))
    embeddings, labels = batch()
    training = module(embeddings, labels)
    seen = module.network.norm.running_mean.clone()
    assert seen.any()
    assert torch.equal(module.eval()(embeddings + 1, labels), module.train()(embeddings + 1, labels))
    assert not torch.equal(module.network.norm.running_mean, seen)
    seen = module.network.norm.running_mean.clone()
    module.eval()(embeddings, labels)
    assert torch.equal(module.network.norm.running_mean, seen)
    torch.testing.assert_close(module(embeddings, labels), training)


def test_one_image_leaves_the_running_statistics_alone() -> None:
    module = build(lambda s: hist(s, hidden=5))
    embeddings, labels = batch()
    assert module(embeddings[:1], labels[:1]).isfinite()
    assert torch.equal(module.network.norm.running_var, torch.ones(5, dtype=torch.float64))


def test_two_classes_are_classes_like_others() -> None:
    torch.manual_seed(0)
    module = hist(Shape(DIM, 2), tau=2.0, hidden=5).double()
    embeddings, labels = batch()
    near, agreed = loop_losses(module, embeddings, labels % 2, 2.0, 1.1)
    assert module(embeddings, labels % 2).item() == pytest.approx(near + agreed, abs=1e-10)


def test_no_image_is_left_out_where_its_probability_rounds_to_nothing() -> None:
    """Far from its class in single precision: the first term grows on."""
    module = build(lambda s: hist(s, tau=200.0, classification=0.0, hidden=5), torch.float32)
    module.log_vars.data.zero_()
    embeddings = -module.means.detach().clone()
    loss = module(embeddings, torch.arange(CLASSES))
    assert loss.isfinite()
    assert loss > 200
