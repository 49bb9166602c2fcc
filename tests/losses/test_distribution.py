"""Losses over distributions of similarities against pytorch-metric-learning, plain loops and cases known by hand."""

from collections.abc import Iterator
from itertools import combinations

import pytest
import torch
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning.losses import histogram_loss
from pytorch_metric_learning.losses.histogram_loss import filter_pairs
from support.sample_batches import CLASSES, assert_same, batch, shape, value_and_gradients
from torch import Tensor
from torch.nn import functional as F

from losses.distribution import histogram, intra_pair_variance, threshold_consistent_margin

AGREE = {
    "histogram": (lambda: histogram(shape()), lambda: pml.HistogramLoss(n_bins=100)),
    "histogram of 7": (lambda: histogram(shape(), bins=7), lambda: pml.HistogramLoss(n_bins=7)),
    "intra_pair_variance": (
        lambda: intra_pair_variance(shape(), positive_epsilon=0.1, negative_epsilon=0.2),
        lambda: pml.IntraPairVarianceLoss(pos_eps=0.1, neg_eps=0.2),
    ),
    "threshold_consistent_margin": (
        lambda: threshold_consistent_margin(shape(), negative_margin=0.1, positive_weight=0.5, negative_weight=2),
        lambda: pml.ThresholdConsistentMarginLoss(0.5, 2, margin_minus=0.1),
    ),
}


@pytest.fixture
def mended_pml(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Its histogram indexes with a list of lists, which torch warns of, and rounds its steps to the default type."""
    monkeypatch.setattr(histogram_loss, "filter_pairs", lambda *pairs: tuple(filter_pairs(*pairs)))
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("mended_pml")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", AGREE)
def test_agrees_with_pml(name: str, seed: int) -> None:
    ours, theirs = (value_and_gradients(make(), *batch(seed=seed)) for make in AGREE[name])
    assert_same(ours, theirs, 1e-9)


def loop_histogram(embeddings: Tensor, labels: Tensor, bins: int) -> float:
    """Every pair once, each a triangle as wide as two steps on the nodes."""
    unit, nodes = F.normalize(embeddings), [-1 + 2 * k / bins for k in range(bins + 1)]
    heights: dict[bool, list[list[float]]] = {True: [], False: []}
    for i, j in combinations(range(len(labels)), 2):
        s = float(unit[i] @ unit[j])
        heights[bool(labels[i] == labels[j])].append([max(0.0, 1 - abs(s - t) * bins / 2) for t in nodes])
    positive, negative = ([sum(node) / len(of) for node in zip(*of, strict=True)] for of in heights.values())
    return sum(negative[r] * positive[q] for r in range(bins + 1) for q in range(r + 1))


@pytest.mark.parametrize("bins", [1, 10, 100])
def test_histogram_counts_every_pair_once(bins: int) -> None:
    """Also the pairs of two images that both are the only ones of their class."""
    embeddings, labels = batch()
    labels = labels.where(labels > 1, CLASSES + torch.arange(len(labels)))
    value = histogram(shape(), bins=bins)(embeddings, labels)
    assert value.item() == pytest.approx(loop_histogram(embeddings, labels, bins), abs=1e-12)


@pytest.mark.parametrize(("labels", "expected"), [([0, 0, 1, 1], 0.0), ([0, 1, 0, 1], 1.0)])
@pytest.mark.parametrize("bins", [1, 3, 100])
def test_histogram_knows_the_ends_of_its_range(labels: list[int], expected: float, bins: int) -> None:
    """Similarities of 1 and -1, where rounding may pass the last step: all in order, and nothing in order."""
    row = torch.tensor([0.1, 0.7, -0.3])
    embeddings = torch.stack([row, 3 * row, -row, -7 * row])
    value, (gradient,) = value_and_gradients(histogram(shape(3), bins=bins), embeddings, torch.tensor(labels))
    assert value.item() == pytest.approx(expected, abs=1e-4)
    assert gradient.isfinite().all()


def test_threshold_consistent_margin_costs_nothing_past_both_margins() -> None:
    embeddings, labels = torch.eye(8)[torch.arange(24) // 3], torch.arange(24) // 3
    assert not threshold_consistent_margin(shape(8))(embeddings, labels)
    assert threshold_consistent_margin(shape(8))(embeddings, torch.arange(24)).item() == pytest.approx(0.5)


def test_threshold_consistent_margin_needs_a_weight() -> None:
    with pytest.raises(ValueError, match="both weights 0"):
        threshold_consistent_margin(shape(), positive_weight=0, negative_weight=0)
