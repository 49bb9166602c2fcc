"""The sigmoid loss against the authors' code and plain loops."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support.recent_golden import assert_met, every_case, in_both_precisions, stored
from support.sample_batches import assert_same, batch, build, value_and_gradients
from torch import Tensor, nn

from losses.pairwise import References
from losses.shape import Shape
from losses.sigmoid import siglip


def of_case(case: dict[str, Any], *, self_pairs: bool) -> nn.Module:
    images, dim = case["embeddings"].shape
    module = siglip(Shape(dim, images), self_pairs=self_pairs).to(case["embeddings"].dtype)
    module.log_scale.data.fill_(case["t_log"])
    module.bias.data.fill_(case["bias"])
    return module


@in_both_precisions
@every_case("siglip")
@pytest.mark.parametrize("self_pairs", [False, True])
def test_a_batch_of_classes_meets_the_stored_values(path: Path, dtype: torch.dtype, self_pairs: bool) -> None:
    case, way = stored(path, dtype), "self_" if self_pairs else ""
    module = of_case(case, self_pairs=self_pairs)
    value, gradients = value_and_gradients(module, case["embeddings"], case["labels"])
    names = (f"grad_{way}{name}" for name in ("embeddings", "t_log", "bias"))
    assert_met({f"loss_{way}".strip("_"): value, **dict(zip(names, gradients, strict=True))}, case, dtype)


@in_both_precisions
@every_case("siglip")
def test_two_views_of_each_image_meet_the_authors_code(path: Path, dtype: torch.dtype) -> None:
    """Which sums over the second view where we take the mean."""
    case = stored(path, dtype)
    first, second = (case[name].clone().requires_grad_() for name in ("embeddings", "embeddings_b"))
    each, module = torch.arange(len(first)), of_case(case, self_pairs=True)
    value = len(first) * module(first, each, References(second, each, each))
    names = ["embeddings", "t_log", "bias", "embeddings_b"]
    found = torch.autograd.grad(value, [first, *module.parameters(), second])
    gradients = {f"grad_pair_{name}": gradient for name, gradient in zip(names, found, strict=True)}
    assert_met({"loss_pair": value, **gradients}, case, dtype)


class Plain(nn.Module):
    """By a loop over the pairs."""

    def __init__(self, scale: float, bias: float, *, self_pairs: bool) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale), dtype=torch.float64))
        self.bias, self.self_pairs = nn.Parameter(torch.tensor(bias, dtype=torch.float64)), self_pairs

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        costs = []
        for i, a in enumerate(embeddings):
            for j, b in enumerate(embeddings):
                sign = 1 if labels[i] == labels[j] else -1
                logit = self.log_scale.exp() * (a @ b) / (a.norm() * b.norm()) + self.bias
                costs += [-torch.log(1 / (1 + torch.exp(-sign * logit)))] if i != j or self.self_pairs else []
        return sum(costs) / len(costs)


@pytest.mark.parametrize("self_pairs", [False, True])
@pytest.mark.parametrize(("scale", "bias"), [(10.0, -10.0), (3.0, -1.0)])
def test_siglip_agrees_with_plain_loops(scale: float, bias: float, self_pairs: bool) -> None:
    """Also with classes of different sizes."""
    embeddings, labels = batch()
    ours = build(lambda s: siglip(s, scale=scale, bias=bias, self_pairs=self_pairs))
    with torch.no_grad():  # before it was made double, the logarithm was rounded
        ours.log_scale.fill_(math.log(scale))
    expected = value_and_gradients(Plain(scale, bias, self_pairs=self_pairs), embeddings, labels.clamp(max=3))
    assert_same(value_and_gradients(ours, embeddings, labels.clamp(max=3)), expected, 1e-8)


def test_a_pair_counts_alike_from_both_sides_and_an_image_alone_costs_nothing() -> None:
    embeddings, labels = batch()
    module = build(siglip)
    assert module(embeddings[:1], labels[:1]).item() == 0
    logit = 10 * torch.cosine_similarity(embeddings[0], embeddings[1], 0) - 10
    alike, apart = module(embeddings[:2], torch.tensor([1, 1])), module(embeddings[:2], torch.tensor([0, 1]))
    assert [alike.item(), apart.item()] == pytest.approx([math.log1p(math.exp(-s * logit)) for s in (1, -1)])


def test_the_scale_is_learned_by_its_logarithm_and_starts_where_it_is_told() -> None:
    module = siglip(Shape(8, 3), scale=4.0, bias=-2.0)
    learned = dict(module.named_parameters())
    assert learned["log_scale"].exp().item() == pytest.approx(4)
    assert learned["bias"].item() == -2
