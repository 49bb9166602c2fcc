"""Margin and dynamic soft margin against pytorch-metric-learning and plain loops."""

import math
from itertools import product

import pytest
import torch
from pytorch_metric_learning import losses as pml
from support.sample_batches import CLASSES, DIM, assert_same, batch, build, loop_distance, shape, value_and_gradients
from torch import Tensor
from torch.nn import functional as F

from losses.pairwise import distances, pairs
from losses.triplets import distance_weights, draws, dynamic_soft_margin, margin


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("learned", ["no", "one", "class"])
def test_margin_on_all_triplets_agrees_with_pml(learned: str, seed: int) -> None:
    nu = 0.1 if learned == "class" else 0.0
    ours = build(lambda s: margin(s, mining="all", learn_beta=learned, nu=nu))  # type: ignore[arg-type]
    theirs = pml.MarginLoss(
        nu=nu, learn_beta=learned != "no", num_classes=CLASSES if learned == "class" else None
    ).double()
    assert_same(value_and_gradients(ours, *batch(seed=seed)), value_and_gradients(theirs, *batch(seed=seed)), 1e-9)


def test_margin_weighs_one_boundary_as_it_weighs_one_a_class() -> None:
    of_class = value_and_gradients(build(lambda s: margin(s, mining="all", nu=0.1)), *batch())
    of_all = value_and_gradients(build(lambda s: margin(s, mining="all", nu=0.1, learn_beta="one")), *batch())
    summed = [of_class[1][0], of_class[1][1].sum(0, keepdim=True)]
    assert_same(of_all, (of_class[0], summed), 1e-12)


def test_margin_refuses_to_weigh_a_boundary_that_stays() -> None:
    with pytest.raises(ValueError, match="nu"):
        margin(shape(), learn_beta="no", nu=0.1)


def test_margin_draws_the_only_negative_within_the_cutoff_for_every_positive() -> None:
    """Images of one class, one image of another near them, one beyond the cutoff: nothing is left to chance."""
    embeddings, _ = batch()
    points = F.normalize(embeddings[0] + 0.3 * embeddings[1:9])
    points = torch.cat([points, -points[:1]])
    labels = torch.tensor([0] * 7 + [1, 2])
    only = [(a, p, 7) for a in range(7) for p in range(7) if a != p]
    theirs = pml.MarginLoss(learn_beta=True, num_classes=CLASSES).double()
    value = theirs(points, labels, tuple(torch.tensor(only).T))
    assert build(margin)(points, labels).item() == pytest.approx(value.item(), abs=1e-12)


def test_margin_keeps_the_positives_of_an_anchor_without_a_negative_within_the_cutoff() -> None:
    points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-0.6, -0.8]])
    value = margin(shape(2), learn_beta="no")(points, torch.tensor([0, 0, 1]))
    near = 2 * (math.sqrt(2) - 1.2 + 0.2)  # both anchors pull; the negative of neither costs anything
    assert value.item() == pytest.approx(near / 2, abs=1e-6)


def test_distance_weights_agree_with_loops() -> None:
    embeddings, labels = batch()
    embeddings[3] = 20 * embeddings[0]  # of another class, nearer than the low cutoff
    points = F.normalize(embeddings)
    found = distance_weights(distances(points), pairs(labels)[1], dim=DIM, cutoffs=(0.5, 1.4))
    for a, row in enumerate(points):
        spread = [loop_distance(row, other, squared=False) for other in points]
        drawn = [labels[a] != labels[n] and d < 1.4 for n, d in enumerate(spread)]
        density = [max(d, 0.5) ** (DIM - 2) * (1 - max(d, 0.5) ** 2 / 4) ** ((DIM - 3) / 2) for d in spread]
        weights = [1 / q if kept else 0 for q, kept in zip(density, drawn, strict=True)]
        expected = torch.tensor([weight / sum(weights) for weight in weights], dtype=torch.float64)
        torch.testing.assert_close(found[a], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_distance_weights_survive_many_dimensions_and_opposite_points(dtype: torch.dtype) -> None:
    """The weight of a near negative is 1e150 times that of a far one, and infinite across the sphere."""
    distance = torch.tensor([[0.0, 0.1, 1.3, 2.0], [1.3, 1.35, 0.0, 2.0], [1.5, 2.0, 1.9, 0.0]], dtype=dtype)
    negative = torch.tensor([[False, True, True, True], [True, True, False, True], [True, True, True, False]])
    found = distance_weights(distance, negative, dim=512, cutoffs=(0.5, 1.4))
    torch.testing.assert_close(found.sum(1), torch.ones(3, dtype=dtype))
    torch.testing.assert_close(found[0], torch.tensor([0.0, 1, 0, 0], dtype=dtype))
    assert 0 < found[1, 1] < found[1, 0]
    torch.testing.assert_close(found[2], torch.tensor([1 / 3, 1 / 3, 1 / 3, 0], dtype=dtype))


def test_draws_come_as_often_as_they_weigh() -> None:
    torch.manual_seed(0)
    weights = torch.tensor([[0.0, 0.5, 0.3, 0.2, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    times = torch.tensor([[True, False, True, True, False], [False, True, False, False, False], [False] * 5])
    drawn = torch.stack([draws(weights, times) for _ in range(4000)])
    assert (drawn.sum(2) == torch.tensor([3.0, 1.0, 0.0])).all()
    torch.testing.assert_close(drawn.mean(0), weights * torch.tensor([[3.0], [1.0], [0.0]]), rtol=0, atol=0.05)


def test_margin_draws_anew_for_every_batch() -> None:
    module = margin(shape())
    assert len({module(*batch()).item() for _ in range(5)}) > 1


def hard_triplets(points: Tensor, labels: list[int]) -> list[tuple[int, int, int]]:
    """Every positive pair with the negative nearest to either, the nearer of the two as the anchor."""
    spread = torch.cdist(points, points).tolist()
    found = []
    for a, p in product(range(len(labels)), repeat=2):
        negatives = [(spread[i][n], i, n) for i in (a, p) for n in range(len(labels)) if labels[n] != labels[a]]
        if a != p and labels[a] == labels[p]:
            _, anchor, negative = min(negatives)
            found.append((anchor, a + p - anchor, negative))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_dynamic_soft_margin_agrees_with_pml_on_the_hard_triplets_of_a_first_batch(seed: int) -> None:
    embeddings, labels = batch(seed=seed)
    triplets = torch.tensor(hard_triplets(F.normalize(embeddings), labels.tolist()))
    theirs = pml.DynamicSoftMarginLoss(num_bins=20)(embeddings, labels, tuple(triplets.T))
    ours = build(lambda s: dynamic_soft_margin(s, bins=21))(embeddings, labels)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-9)


def loop_histogram(hardness: list[float], bins: int) -> list[float]:
    counts = [0.0] * bins
    for t in hardness:
        place = (t + 2) / 4 * (bins - 1)
        counts[int(place)] += (1 - place % 1) / len(hardness)
        counts[int(place) + 1] += place % 1 / len(hardness)
    return counts


def test_dynamic_soft_margin_agrees_with_loops_over_three_batches() -> None:
    bins, momentum, running = 64, 0.3, [0.0] * 64
    module = build(lambda s: dynamic_soft_margin(s, bins=bins, momentum=momentum))
    for seed in range(3):
        embeddings, labels = batch(seed=seed)
        embeddings.requires_grad_()
        points = F.normalize(embeddings)
        anchors, positives, negatives = torch.tensor(hard_triplets(points.detach(), labels.tolist())).T
        hardness = (points[anchors] - points[positives]).norm(dim=1) - (points[anchors] - points[negatives]).norm(dim=1)
        share = momentum if seed else 1
        new = loop_histogram(hardness.tolist(), bins)
        running = [(1 - share) * old + share * of_batch for old, of_batch in zip(running, new, strict=True)]
        weights = [sum(running[: int((t + 2) / 4 * (bins - 1)) + 1]) for t in hardness.tolist()]
        value = (hardness * torch.tensor(weights, dtype=torch.float64)).mean()
        expected = value.detach(), list(torch.autograd.grad(value, embeddings))
        assert_same(value_and_gradients(module, embeddings.detach(), labels), expected, 1e-9)


def test_dynamic_soft_margin_holds_the_hardest_triplet_there_is() -> None:
    """A positive across the sphere and a negative in the same place: t = 2, the upper end."""
    points = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    module = dynamic_soft_margin(shape(2))
    assert module(points, torch.tensor([0, 0, 1, 1])).item() == pytest.approx(1, abs=1e-6)
    assert module.histogram[-1].item() == pytest.approx(0.5, abs=1e-6)


def test_dynamic_soft_margin_records_in_training_only() -> None:
    module = dynamic_soft_margin(shape())
    module(*batch())
    before = module.histogram.clone()
    one_class = batch()[0], torch.zeros(24, dtype=torch.long)
    module(*one_class)
    module.eval()(*batch(seed=1))
    assert torch.equal(module.histogram, before)
    module.train()(*batch(seed=1))
    assert not torch.equal(module.histogram, before)
