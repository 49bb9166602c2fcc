"""Losses of a pair against all its negatives: pytorch-metric-learning, plain loops and special cases."""

import math

import pytest
import torch
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning.distances import LpDistance
from support.sample_batches import assert_same, batch, build, shape, value_and_gradients
from torch import Tensor, nn
from torch.nn import functional as F

from losses.pairwise import References
from losses.tuplet import angular, angular_n_pair_loss, generalized_lifted_structure, lifted_structure, tuplet_margin


class OnUnit(nn.Module):
    """A loss of pytorch-metric-learning on rows of norm 1; its angular loss leaves negatives as they come."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return self.loss(F.normalize(embeddings), labels)


RAW = LpDistance(normalize_embeddings=False)
AGREE = {
    "angular": (angular, lambda: OnUnit(pml.AngularLoss(alpha=45))),
    "angular 60": (lambda s: angular(s, alpha=60.0), lambda: OnUnit(pml.AngularLoss(alpha=60))),
    "tuplet_margin": (tuplet_margin, lambda: pml.TupletMarginLoss(margin=math.degrees(0.1), scale=64)),
    "tuplet_margin 0.3": (
        lambda s: tuplet_margin(s, margin=0.3, scale=8.0),
        lambda: pml.TupletMarginLoss(margin=math.degrees(0.3), scale=8),
    ),
    "lifted_structure": (
        lambda s: lifted_structure(s, normalize=True),
        lambda: pml.LiftedStructureLoss(neg_margin=1, pos_margin=0),
    ),
    "lifted_structure raw": (
        lambda s: lifted_structure(s, margin=12.0),
        lambda: pml.LiftedStructureLoss(neg_margin=12, pos_margin=0, distance=RAW),
    ),
    "generalized_lifted_structure": (
        lambda s: generalized_lifted_structure(s, normalize=True),
        pml.GeneralizedLiftedStructureLoss,
    ),
    "generalized_lifted_structure raw": (
        lambda s: generalized_lifted_structure(s, margin=0.5),
        lambda: pml.GeneralizedLiftedStructureLoss(neg_margin=0.5, distance=RAW),
    ),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", AGREE)
def test_losses_agree_with_pml(name: str, seed: int) -> None:
    ours, theirs = AGREE[name]
    expected = value_and_gradients(theirs(), *batch(seed=seed, per_class=3))
    assert_same(value_and_gradients(build(ours), *batch(seed=seed, per_class=3)), expected, 1e-9)


@pytest.mark.parametrize("name", ["angular", "tuplet_margin", "lifted_structure"])
def test_pairs_of_unbalanced_classes_weigh_the_same(name: str) -> None:
    embeddings, labels = batch()
    labels = labels.clamp(max=2)
    labels[0] = 5  # an image alone in its class
    ours, theirs = AGREE[name]
    expected = value_and_gradients(theirs(), embeddings, labels)
    assert_same(value_and_gradients(build(ours), embeddings, labels), expected, 1e-9)


def test_generalized_lifted_structure_averages_over_anchors_with_both_sides() -> None:
    """An image alone in its class is a negative, but no anchor: pytorch-metric-learning makes it one."""
    embeddings, labels = batch()
    labels[0] = 6
    points = F.normalize(embeddings)
    spread = torch.cdist(points, points).tolist()
    costs = []
    for a, row in enumerate(spread):
        near = [math.exp(d) for j, d in enumerate(row) if j != a and labels[j] == labels[a]]
        far = [math.exp(1 - d) for j, d in enumerate(row) if labels[j] != labels[a]]
        costs += [max(0.0, math.log(sum(near)) + math.log(sum(far)))] if near else []
    ours = generalized_lifted_structure(shape(), normalize=True)(embeddings, labels)
    assert ours.item() == pytest.approx(sum(costs) / len(costs), abs=1e-12)


@pytest.mark.parametrize("alpha", [10.0, 45.0, 70.0])
def test_angular_holds_its_range_of_angles_in_single_precision(alpha: float) -> None:
    """Rows that coincide with negatives of other classes, and rows across the sphere from them, are the extremes."""
    embeddings, labels = batch()
    embeddings = torch.cat([embeddings, embeddings[:6], -embeddings[6:12]])
    labels = torch.cat([labels, (labels[:12] + 1) % 6])
    points, t = F.normalize(embeddings), math.tan(math.radians(alpha)) ** 2
    costs = []
    for a, anchor in enumerate(points):
        negatives = points[labels != labels[a]]
        for p, positive in enumerate(points):
            if a != p and labels[a] == labels[p]:
                f = 4 * t * negatives @ (anchor + positive) - 2 * (1 + t) * anchor @ positive
                costs.append(torch.cat([f, f.new_zeros(1)]).logsumexp(0).item())
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        ours = build(lambda s: angular(s, alpha=alpha), dtype)(embeddings.to(dtype), labels)
        assert ours.item() == pytest.approx(sum(costs) / len(costs), rel=tolerance)


def first_pairs(labels: list[int]) -> Tensor:
    """Row numbers [q, 2] of the first two images of every class that has two."""
    places = [[i for i, label in enumerate(labels) if label == one] for one in sorted(set(labels))]
    return torch.tensor([found[:2] for found in places if len(found) > 1])


def test_angular_of_first_images_takes_one_pair_a_class() -> None:
    embeddings, labels = batch()
    labels[2] = 7  # an image alone in its class is neither anchor nor negative
    anchors, positives = F.normalize(embeddings)[first_pairs(labels.tolist())].unbind(1)
    expected = angular_n_pair_loss(anchors, positives, alpha=45.0)
    assert angular(shape(), anchors="first")(embeddings, labels).item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("alpha", [30.0, 45.0, 80.0])
def test_angular_n_pair_loss_agrees_with_loops(alpha: float) -> None:
    anchors, positives = batch()[0].view(2, 12, -1)
    t, costs = math.tan(math.radians(alpha)) ** 2, []
    for k, (a, p) in enumerate(zip(anchors, positives, strict=True)):
        f = [4 * t * (a + p) @ other - 2 * (1 + t) * a @ p for j, other in enumerate(positives) if j != k]
        costs.append(torch.stack([*f, a.new_zeros(())]).logsumexp(0).item())
    ours = angular_n_pair_loss(anchors, positives, alpha=alpha)
    assert ours.item() == pytest.approx(sum(costs) / len(costs), rel=1e-12)


def test_a_positive_costs_least_at_the_slack_of_its_anchor() -> None:
    """As far within the margin as short of it, it costs the same."""
    values = []
    for angle in (0.05, 0.1, 0.15):
        points = torch.tensor([[1.0, 0, 0], [math.cos(angle), math.sin(angle), 0], [0, 0, 1]], dtype=torch.float64)
        values.append(tuplet_margin(shape(3), margin=0.1, scale=4.0)(points, torch.tensor([0, 0, 1])).item())
    assert values[0] == pytest.approx(values[2], abs=1e-12)
    assert values[1] < values[0]


class FirstAsBatch(nn.Module):
    """Our loss, the first images as the batch and all of them as its references."""

    def __init__(self, loss: nn.Module, size: int) -> None:
        super().__init__()
        self.loss, self.size = loss, size

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        references = References(embeddings, labels, torch.arange(self.size))
        return self.loss(embeddings[: self.size], labels[: self.size], references)


def test_references_are_the_columns_of_tuplet_margin() -> None:
    ours = value_and_gradients(FirstAsBatch(build(tuplet_margin), 7), *batch())
    embeddings, labels = batch()
    embeddings.requires_grad_()
    pair = [
        torch.nonzero(mask[:7])
        for mask in ((labels[:, None] == labels).fill_diagonal_(False), labels[:, None] != labels)
    ]
    indices = (*pair[0].T, *pair[1].T)
    value = pml.TupletMarginLoss(margin=math.degrees(0.1))(embeddings, labels, indices)
    assert_same(ours, (value.detach(), list(torch.autograd.grad(value, embeddings))), 1e-9)


def test_references_are_the_columns_of_generalized_lifted_structure() -> None:
    """Its anchors are the rows: those of the batch together weigh as they do among all."""
    embeddings, labels = batch()
    whole = generalized_lifted_structure(shape(), normalize=True)(embeddings, labels).item() * len(labels)
    halves = 0.0
    for rows in torch.arange(len(labels)).split(9):
        references = References(embeddings, labels, rows)
        value = generalized_lifted_structure(shape(), normalize=True)(embeddings[rows], labels[rows], references)
        halves += value.item() * len(rows)
    assert halves == pytest.approx(whole, abs=1e-10)
