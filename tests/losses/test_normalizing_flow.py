"""NIR against the authors' vectors, plain loops, numeric gradients, and what any density keeps."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support.recent_golden import assert_all_met, every_case, in_both_precisions, stored
from support.sample_batches import batch, build
from torch import Tensor, nn
from torch.nn import functional as F

from losses.normalizing_flow import alignment_loss, nir, surprise
from losses.shape import Shape

SMALL = {"blocks": 2, "depth": 3, "width": 5}


def names(case: dict[str, Any]) -> list[str]:
    """The vectors' names of the networks' parameters, in our order."""
    nets = [f"b{b}_s{s}" for b in range(case["n_blocks"]) for s in (1, 2)]
    return [
        f"{net}_l{layer}_{part}" for net in nets for layer in range(case["fc_depth"]) for part in ("weight", "bias")
    ]


def of_case(case: dict[str, Any], dtype: torch.dtype) -> nn.Module:
    classes, dim = case["proxies"].shape
    module = nir(
        Shape(dim, classes),
        alignment=case["w_align"],
        positive_alpha=case["pos_alpha"],
        negative_alpha=case["neg_alpha"],
        positive_delta=case["pos_delta"],
        negative_delta=case["neg_delta"],
        blocks=case["n_blocks"],
        depth=case["fc_depth"],
        width=case["fc_width"],
        clamp=case["clamp"],
        normalize=False,
    ).to(dtype)
    module.proxies.data = case["proxies"]
    for name, parameter in zip(names(case), module.networks.parameters(), strict=True):
        assert parameter.shape == case[name].shape
        parameter.data = case[name]
    module.permutations = torch.stack([case[f"b{b}_perm"] for b in range(case["n_blocks"])])
    return module


@in_both_precisions
@every_case("nir")
def test_authors_vectors_are_met(path: Path, dtype: torch.dtype) -> None:
    case = stored(path, dtype)
    assert case["split"] == round(case["embeddings"].shape[1] / 2)
    module, labels, embeddings = of_case(case, dtype), case["labels"], case["embeddings"].requires_grad_()
    loss = module(embeddings, labels)
    parameters = dict(zip(names(case), module.networks.parameters(), strict=True))
    inputs = {"embeddings": embeddings, "proxies": module.proxies, **parameters}
    gradients = torch.autograd.grad(loss, list(inputs.values()))
    told = F.normalize(module.proxies)[labels]
    anchors = {
        f"{sign}_{name}": case[f"{sign[:3]}_{name}"] for sign in ("positive", "negative") for name in ("alpha", "delta")
    }
    computed = {
        "nll": surprise(embeddings, told, module.networks, module.permutations, clamp=case["clamp"]),
        "loss_align": alignment_loss(embeddings, labels, module.proxies, **anchors),
        "loss": loss,
        **{f"grad_{name}": gradient for name, gradient in zip(inputs, gradients, strict=True)},
    }
    assert_all_met(path, computed, dtype)


def loop_surprise(point: list[float], told: list[float], module: nn.Module, clamp: float) -> float:
    def outputs(net: nn.Module, row: list[float]) -> list[float]:
        for place, layer in enumerate(net):
            seen = [max(x, 0.0) for x in row] if place else row
            weights = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
            row = [sum(w * x for w, x in zip(weight, seen, strict=True)) + bias for weight, bias in weights]
        return row

    volume, split = 0.0, round(len(point) / 2)
    for block, permutation in enumerate(module.permutations.tolist()):
        point = [point[old] for old in permutation]
        parts = [point[:split], point[split:]]
        for moved in (0, 1):
            made = outputs(module.networks[2 * block + 1 - moved], parts[1 - moved] + told)
            size = len(parts[moved])
            scales = [clamp * 0.636 * math.atan(s) for s in made[:size]]
            parts[moved] = [math.exp(s) * x + t for s, x, t in zip(scales, parts[moved], made[size:], strict=True)]
            volume += sum(scales)
        point = parts[0] + parts[1]
    return sum(x * x for x in point) / 2 - volume


def loop_loss(module: nn.Module, embeddings: Tensor, labels: Tensor, alignment: float) -> float:
    rows, directions = F.normalize(embeddings).tolist(), F.normalize(module.proxies).tolist()
    own, n = labels.tolist(), len(labels)
    costs = [math.exp(loop_surprise(row, directions[y], module, 2.0)) for row, y in zip(rows, own, strict=True)]

    def cosine(i: int, c: int) -> float:
        return sum(a * b for a, b in zip(rows[i], directions[c], strict=True))

    near = [math.log(1 + sum(math.exp(-32 * (cosine(i, y) - 0.1)) for i in range(n) if own[i] == y)) for y in own]
    far = [
        math.log(1 + sum(math.exp(32 * (cosine(i, c) + 0.1)) for i in range(n) if own[i] != c))
        for c in range(len(directions))
    ]
    return sum(costs) / n + alignment * (sum(near) / n + sum(far) / len(far))


@pytest.mark.parametrize("seed", range(2))
def test_nir_agrees_with_plain_loops(seed: int) -> None:
    """Classes of several sizes, one of them absent: each image has its class's value once."""
    module = build(lambda s: nir(s, alignment=0.5, **SMALL))
    embeddings, labels = batch(seed=seed)
    labels = labels.clamp(max=3)
    expected = loop_loss(module, embeddings, labels, 0.5)
    assert module(embeddings, labels).item() == pytest.approx(expected, rel=1e-11)


def test_gradients_are_numeric_ones() -> None:
    module = build(lambda s: nir(s, positive_alpha=3.0, negative_alpha=2.0, **SMALL))
    embeddings, labels = batch(per_class=1)
    names, parameters = zip(*module.named_parameters(), strict=True)

    def loss(embeddings: Tensor, *given: Tensor) -> Tensor:
        value: Tensor = torch.func.functional_call(module, dict(zip(names, given, strict=True)), (embeddings, labels))
        return value

    inputs = [embeddings, *(p.detach().clone() for p in parameters)]
    assert torch.autograd.gradcheck(loss, [x.requires_grad_() for x in inputs], fast_mode=True)


def test_the_flows_density_sums_to_one() -> None:
    """Over a grid of the plane, whatever the networks are: the change of volume is counted in full."""
    torch.manual_seed(3)
    module = nir(Shape(2, 1), **SMALL).double()
    for parameter in module.networks.parameters():
        parameter.data *= 1.5
    step = 0.1
    axis = torch.arange(-12, 12, step, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    told = F.normalize(module.proxies).expand(len(grid), 2)
    density = (-surprise(grid, told, module.networks, module.permutations)).exp() / (2 * math.pi)
    assert density.sum().item() * step**2 == pytest.approx(1, abs=1e-3)


def test_each_block_has_a_permutation_of_its_own_which_is_kept_with_the_state() -> None:
    module = build(lambda s: nir(s, **SMALL), dim=9)
    one, other = module.state_dict()["permutations"].tolist()
    assert one != other
    assert sorted(one) == sorted(other) == list(range(9))


def test_without_normalize_the_length_of_an_embedding_matters_to_the_flow_alone() -> None:
    embeddings, labels = batch()
    given, unit = (build(lambda s, n=n: nir(s, normalize=n, **SMALL)) for n in (False, True))
    torch.testing.assert_close(given(F.normalize(embeddings), labels), unit(embeddings, labels))
    without = build(lambda s: nir(s, normalize=False, alignment=0.0, **SMALL))
    longer = 1.5 * F.normalize(embeddings)
    difference = given(longer, labels) - without(longer, labels)
    torch.testing.assert_close(difference, unit(embeddings, labels) - without(F.normalize(embeddings), labels))


def test_a_single_dimension_has_no_halves() -> None:
    with pytest.raises(ValueError, match=r"set recipe\.dim=2 or more"):
        nir(Shape(1, 4))
