"""Pair losses against pytorch-metric-learning and plain loops."""

import math
from itertools import product

import pytest
import torch
from pytorch_metric_learning import distances, miners, regularizers
from pytorch_metric_learning import losses as pml
from support.sample_batches import CLASSES, Mined, assert_same, batch, loop_distance, shape, value_and_gradients
from torch import Tensor
from torch.nn import functional as F

from losses.pair import (
    binomial_deviance,
    binomial_deviance_loss,
    circle,
    contrastive,
    multi_similarity,
    signal_to_noise_contrastive,
)

PLAIN = distances.SNRDistance(normalize_embeddings=False)
AGREE = {
    "contrastive": (
        lambda: contrastive(shape(), positive_margin=0.3, negative_margin=1.2, squared=False),
        lambda: pml.ContrastiveLoss(pos_margin=0.3, neg_margin=1.2),
    ),
    "contrastive mined": (
        lambda: contrastive(shape(), squared=False, mining="multi_similarity"),
        lambda: Mined(pml.ContrastiveLoss(), miners.MultiSimilarityMiner(epsilon=0.1)),
    ),
    "multi_similarity": (
        lambda: multi_similarity(shape()),
        lambda: Mined(pml.MultiSimilarityLoss(alpha=2, beta=50, base=0.5), miners.MultiSimilarityMiner(epsilon=0.1)),
    ),
    "circle": (lambda: circle(shape()), lambda: pml.CircleLoss(m=0.4, gamma=80)),
    "circle of faces": (lambda: circle(shape(), margin=0.25, gamma=256), lambda: pml.CircleLoss(m=0.25, gamma=256)),
    "signal_to_noise": (
        lambda: signal_to_noise_contrastive(shape(), positive_margin=0.2, negative_margin=2.1),
        lambda: pml.SignalToNoiseRatioContrastiveLoss(pos_margin=0.2, neg_margin=2.1),
    ),
    "signal_to_noise of the paper": (
        lambda: signal_to_noise_contrastive(shape(), zero_mean=0.05, normalize=False),
        lambda: pml.SignalToNoiseRatioContrastiveLoss(
            distance=PLAIN, embedding_regularizer=regularizers.ZeroMeanRegularizer(), embedding_reg_weight=0.05
        ),
    ),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", AGREE)
def test_pair_losses_agree_with_pml(name: str, seed: int) -> None:
    ours, theirs = (value_and_gradients(make(), *batch(seed=seed)) for make in AGREE[name])
    assert_same(ours, theirs, 1e-9)


@pytest.mark.parametrize("name", AGREE)
def test_pair_losses_agree_with_pml_where_some_classes_have_one_image(name: str) -> None:
    ours, theirs = (value_and_gradients(make(), *lonely()) for make in AGREE[name])
    assert_same(ours, theirs, 1e-9)


def lonely() -> tuple[Tensor, Tensor]:
    """A batch of classes of 1, 1, 1, 1, 4, 4, 4, 4 and 4 images."""
    embeddings, labels = batch()
    return embeddings, labels.where(labels > 0, CLASSES + torch.arange(len(labels)))


def test_contrastive_squares_what_a_pair_lacks() -> None:
    embeddings, labels = batch()
    unit = F.normalize(embeddings)
    near, far = [], []
    for i, j in product(range(len(labels)), repeat=2):
        d = loop_distance(unit[i], unit[j], squared=False)
        if i != j and labels[i] == labels[j]:
            near.append(d**2 / 2)
        elif labels[i] != labels[j] and d < 1:
            far.append((1 - d) ** 2 / 2)
    expected = sum(near) / len(near) + sum(far) / len(far)
    assert contrastive(shape())(embeddings, labels).item() == pytest.approx(expected, abs=1e-12)


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


@pytest.mark.parametrize("positives", ["others", "below_one"])
def test_binomial_deviance_averages_an_image_at_a_time(positives: str) -> None:
    embeddings, labels = lonely()
    embeddings = F.normalize(embeddings) * torch.linspace(0.8, 1.2, len(labels))[:, None]
    total, scores = 0.0, (embeddings @ embeddings.T).tolist()
    for i in range(len(labels)):
        own = [j for j in range(len(labels)) if labels[j] == labels[i]]
        kept = [j for j in own if (scores[i][j] < 1 if positives == "below_one" else j != i)]
        total += mean([math.log(1 + math.exp(-3 * (scores[i][j] - 0.4))) for j in kept])
        total += mean([math.log(1 + math.exp(20 * (scores[i][j] - 0.4))) for j in range(len(labels)) if j not in own])
    setting = {"positive_scale": 3, "negative_scale": 20, "margin": 0.4, "normalize": False, "positives": positives}
    value = binomial_deviance_loss(embeddings, labels, **setting)  # type: ignore[arg-type]
    assert value.item() == pytest.approx(total / len(labels), abs=1e-12)
    assert torch.equal(binomial_deviance(shape(), **setting)(embeddings, labels), value)  # type: ignore[arg-type]


def test_binomial_deviance_averages_over_pairs_where_classes_have_the_same_size() -> None:
    embeddings, labels = batch()
    cosine, same = F.normalize(embeddings) @ F.normalize(embeddings).T, labels[:, None] == labels
    positive = same & ~torch.eye(len(labels), dtype=torch.bool)
    expected = (-2 * (cosine[positive] - 0.5)).exp().log1p().mean() + (25 * (cosine[~same] - 0.5)).exp().log1p().mean()
    torch.testing.assert_close(binomial_deviance(shape())(embeddings, labels), expected)


def test_binomial_deviance_refuses_a_rule_that_hangs_on_rounding() -> None:
    with pytest.raises(ValueError, match="normalize = false"):
        binomial_deviance(shape(), positives="below_one")


def test_circle_is_averaged_over_images_that_have_both_kinds() -> None:
    embeddings, labels = lonely()
    cosine, costs = (F.normalize(embeddings) @ F.normalize(embeddings).T).tolist(), []
    for i in range(len(labels)):
        near = [cosine[i][j] for j in range(len(labels)) if j != i and labels[j] == labels[i]]
        far = [cosine[i][j] for j in range(len(labels)) if labels[j] != labels[i]]
        pull = sum(math.exp(-10 * max(0.0, 1.3 - s) * (s - 0.7)) for s in near)
        push = sum(math.exp(10 * max(0.0, s + 0.3) * (s - 0.3)) for s in far)
        costs += [math.log(1 + pull * push)] if near else []
    value = circle(shape(), margin=0.3, gamma=10)(embeddings, labels)
    assert value.item() == pytest.approx(mean(costs), abs=1e-8)
    assert len(costs) < len(labels)


def test_signal_to_noise_without_normalising_does_not_hang_on_the_scale() -> None:
    embeddings, labels = batch()
    module = signal_to_noise_contrastive(shape(), normalize=False)
    torch.testing.assert_close(module(100 * embeddings, labels), module(embeddings, labels))


def test_signal_to_noise_takes_the_row_as_the_signal() -> None:
    embeddings = torch.tensor([[1.0, -1.0, 0.0, 0.0], [4.0, -4.0, 0.0, 0.0]])
    module = signal_to_noise_contrastive(shape(4), normalize=False)
    assert module(embeddings, torch.zeros(2, dtype=torch.long)).item() == pytest.approx((9 / 1 + 9 / 16) / 2)
    assert module(embeddings, torch.arange(2)).item() == pytest.approx(1 - 9 / 16)
