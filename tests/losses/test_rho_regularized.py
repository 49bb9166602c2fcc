"""Rho-regularised margin against plain loops, and what it draws."""

import math

import pytest
import torch
from support.sample_batches import CLASSES, batch, build, shape
from torch import Tensor
from torch.nn import functional as F

from losses.rho_regularized import costly, drawn_triplets, rho_margin, rho_margin_loss, triplet_costs

MARGIN, NU = 0.3, 0.05


def by_loops(points: Tensor, labels: list[int], triplets: list[list[int]], beta: list[float], *, per: str) -> float:
    total, counts, boundaries = 0.0, {"triplet": 0, "pair": 0}, 0.0

    def apart(a: int, b: int) -> float:
        return math.sqrt(sum((x - y) ** 2 for x, y in zip(points[a].tolist(), points[b].tolist(), strict=True)) + 1e-8)

    for a, p, g in triplets:
        boundary = beta[labels[a]] if len(beta) > 1 else beta[0]
        near, far = max(0.0, apart(a, p) - boundary + MARGIN), max(0.0, boundary - apart(a, g) + MARGIN)
        total += near + far
        counts["triplet"] += near > 0 or far > 0
        counts["pair"] += (near > 0) + (far > 0)
        boundaries += boundary
    return total / max(1, counts[per]) + NU * boundaries


@pytest.mark.parametrize("per", ["triplet", "pair"])
@pytest.mark.parametrize("boundaries", [1, CLASSES])
def test_loss_of_triplets_agrees_with_loops(boundaries: int, per: str) -> None:
    embeddings, labels = batch()
    points, beta = F.normalize(embeddings), torch.linspace(0.2, 1.3, boundaries, dtype=torch.float64)
    triplets = torch.randint(0, len(labels), (30, 3), generator=torch.Generator().manual_seed(1))
    triplets[:8, 1] = triplets[:8, 0]
    costs = triplet_costs(points, labels, triplets, beta, margin=MARGIN)
    expected = by_loops(points, labels.tolist(), triplets.tolist(), beta.tolist(), per=per)
    assert rho_margin_loss(costs, nu=NU, per=per).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("per", ["triplet", "pair"])
def test_gradients_agree_with_differences(per: str) -> None:
    embeddings, labels = batch()
    module = build(lambda s: rho_margin(s, nu=NU, per=per))  # type: ignore[arg-type]

    def value(points: Tensor, beta: Tensor) -> Tensor:
        torch.manual_seed(3)
        found: Tensor = torch.func.functional_call(module, {"beta": beta}, (points, labels))
        return found

    beta = torch.linspace(1, 1.3, CLASSES, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(value, (embeddings.requires_grad_(), beta))


@pytest.mark.parametrize("rho", [0.0, 0.3])
@pytest.mark.parametrize("learned", ["no", "one", "class"])
def test_module_is_the_loss_of_what_it_draws(learned: str, rho: float) -> None:
    embeddings, labels = batch()
    nu = 0.0 if learned == "no" else NU
    module = build(lambda s: rho_margin(s, rho=rho, learn_beta=learned, nu=nu, margin=MARGIN))  # type: ignore[arg-type]
    assert len(list(module.parameters())) == (learned != "no")
    points = F.normalize(embeddings)
    order = points[:, 0].argsort()
    torch.manual_seed(3)
    value = module(embeddings, labels)
    torch.manual_seed(3)
    triplets, _ = drawn_triplets(points[order], labels[order], rho=rho)
    costs = triplet_costs(points[order], labels[order], triplets, module.beta, margin=MARGIN)
    assert value.item() == pytest.approx(rho_margin_loss(costs, nu=nu).item(), abs=1e-12)


def test_triplets_are_of_the_right_classes_and_rho_of_them_are_swapped() -> None:
    embeddings, labels = batch()
    lonely = labels.where(labels > 0, CLASSES + torch.arange(len(labels)))
    points, swapped, total = F.normalize(embeddings), 0, 0
    torch.manual_seed(0)
    for _ in range(200):
        triplets, kept = drawn_triplets(points, lonely, rho=0.2)
        assert torch.equal(kept, labels > 0)
        anchors, positives, negatives = triplets[kept].T
        own = anchors == positives
        assert (lonely[anchors] == lonely[positives]).all()
        assert ((lonely[anchors] == lonely[negatives]) == own).all()
        assert (anchors != negatives).all()
        swapped, total = swapped + int(own.sum()), total + len(own)
    assert swapped / total == pytest.approx(0.2, abs=0.03)


def test_negatives_beyond_the_cutoff_are_not_drawn_if_there_are_others() -> None:
    """Two of a class, one of another near them, one across the sphere."""
    points = F.normalize(torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.1, 0.0], [1.0, 0.5, 0.5], [-1.0, 0.0, 0.0]]))
    for _ in range(20):
        triplets, _ = drawn_triplets(points, torch.tensor([0, 0, 1, 2]), rho=0)
        assert triplets[:2].tolist() == [[0, 1, 2], [1, 0, 2]]


def test_an_anchor_swapped_for_its_positive_costs_what_a_low_boundary_lacks() -> None:
    points, triplets = torch.eye(2, dtype=torch.float64), torch.tensor([[0, 0, 1]])
    costs = triplet_costs(points, torch.tensor([0, 0]), triplets, torch.tensor([0.1]), margin=0.2)
    assert costs.near.item() == pytest.approx(1e-4 + 0.1)
    assert costs.far.item() == 0
    assert [costly(costs, per=per).item() for per in ("triplet", "pair")] == [1, 1]


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3]], ids=["one class", "no positive"])
def test_without_a_triplet_the_loss_is_0_and_has_a_graph(labels: list[int]) -> None:
    points = torch.randn(4, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    module = rho_margin(shape(), nu=NU)
    value = module(points, torch.tensor(labels))
    value.backward()
    assert value == 0
    assert all(each.grad is not None and not each.grad.any() for each in (points, module.beta))


def test_rho_margin_refuses_to_weigh_a_boundary_that_stays() -> None:
    with pytest.raises(ValueError, match="nu"):
        rho_margin(shape(), learn_beta="no", nu=0.1)
