"""Pair losses against pytorch-metric-learning and plain loops."""

from itertools import product

import pytest
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning import miners
from sample_batches import Mined, assert_same, batch, loop_distance, shape, value_and_gradients
from torch.nn import functional as F

from losses.pair import contrastive, multi_similarity


@pytest.mark.parametrize("seed", range(3))
def test_contrastive_agrees_with_pml(seed: int) -> None:
    ours = contrastive(shape(), positive_margin=0.3, negative_margin=1.2, squared=False)
    theirs = pml.ContrastiveLoss(pos_margin=0.3, neg_margin=1.2)
    assert_same(value_and_gradients(ours, *batch(seed=seed)), value_and_gradients(theirs, *batch(seed=seed)), 1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_multi_similarity_agrees_with_pml(seed: int) -> None:
    ours = value_and_gradients(multi_similarity(shape()), *batch(seed=seed))
    theirs = Mined(pml.MultiSimilarityLoss(alpha=2, beta=50, base=0.5), miners.MultiSimilarityMiner(epsilon=0.1))
    assert_same(ours, value_and_gradients(theirs, *batch(seed=seed)), 1e-9)


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
