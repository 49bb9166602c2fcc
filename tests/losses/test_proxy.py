"""Proxy losses against pytorch-metric-learning and plain loops."""

import numpy as np
import pytest
import torch
from pytorch_metric_learning import losses as pml
from support.sample_batches import CLASSES, DIM, Loss, assert_same, batch, build, loop_distance, value_and_gradients
from torch import nn
from torch.nn import functional as F

from losses.proxy import proxy_anchor, proxy_nca
from losses.shape import Shape, Unsuitable


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("loss", "theirs"),
    [(lambda s: proxy_nca(s, positive_in_denominator=True), pml.ProxyNCALoss), (proxy_anchor, pml.ProxyAnchorLoss)],
    ids=["proxy_nca", "proxy_anchor"],
)
def test_proxy_losses_agree_with_pml(loss: Loss, theirs: type[nn.Module], seed: int) -> None:
    ours, other = build(loss), theirs(CLASSES, DIM).double()
    other.proxies.data = ours.proxies.data.clone()
    expected = value_and_gradients(other, *batch(seed=seed))
    assert_same(value_and_gradients(ours, *batch(seed=seed)), expected, 1e-9)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("keep", [False, True])
def test_proxy_nca_agrees_with_plain_loops(keep: bool, smoothing: float) -> None:
    """By default the own proxy is left out of the denominator."""
    module = build(lambda s: proxy_nca(s, proxy_scale=3.0, smoothing=smoothing, positive_in_denominator=keep))
    embeddings, labels = batch()
    unit, proxies = F.normalize(embeddings), 3 * F.normalize(next(module.parameters())).detach()
    costs = []
    for x, y in zip(unit, labels.tolist(), strict=True):
        nearness = [np.exp(-loop_distance(x, p, squared=True)) for p in proxies]
        below = sum(v for c, v in enumerate(nearness) if keep or c != y)
        targets = [1 - smoothing if c == y else smoothing / (CLASSES - 1) for c in range(CLASSES)]
        costs.append(-sum(t * np.log(v / below) for t, v in zip(targets, nearness, strict=True)))
    assert module(embeddings, labels).item() == pytest.approx(np.mean(costs), abs=1e-12)


def test_proxy_nca_with_scales_of_3_has_the_temperature_of_proxy_nca_plus_plus() -> None:
    module = build(lambda s: proxy_nca(s, embedding_scale=3.0, proxy_scale=3.0, positive_in_denominator=True))
    embeddings, labels = batch()
    distance = torch.cdist(F.normalize(embeddings), F.normalize(module.proxies)).square()
    expected = F.cross_entropy(-distance / (1 / 9), labels)
    torch.testing.assert_close(module(embeddings, labels), expected, rtol=1e-9, atol=0)


def test_proxy_nca_says_that_one_class_is_too_few() -> None:
    with pytest.raises(Unsuitable, match="two classes or more"):
        proxy_nca(Shape(DIM, 1))
