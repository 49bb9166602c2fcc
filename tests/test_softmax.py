"""Losses with a vector a class against pytorch-metric-learning, and the corners of ArcFace."""

import numpy as np
import pytest
import torch
from pytorch_metric_learning import losses as pml
from sample_batches import CLASSES, DIM, assert_same, batch, build, value_and_gradients

from losses.proxy import proxy_anchor, proxy_nca
from losses.softmax import arc_face, normalized_softmax

CLASSIFIERS = {
    "proxy_nca": (
        lambda s: proxy_nca(s, positive_in_denominator=True),
        lambda: pml.ProxyNCALoss(CLASSES, DIM),
    ),
    "proxy_anchor": (proxy_anchor, lambda: pml.ProxyAnchorLoss(CLASSES, DIM)),
    "normalized_softmax": (normalized_softmax, lambda: pml.NormalizedSoftmaxLoss(CLASSES, DIM)),
    "arc_face": (arc_face, lambda: pml.ArcFaceLoss(CLASSES, DIM, margin=np.degrees(0.5))),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_losses_with_class_vectors_agree_with_pml(name: str, seed: int) -> None:
    ours, theirs = build(CLASSIFIERS[name][0]), CLASSIFIERS[name][1]().double()
    (weight,), (their_weight,) = ours.parameters(), theirs.parameters()
    transposed = their_weight.shape != weight.shape
    their_weight.data = weight.data.T.clone() if transposed else weight.data.clone()
    value, (gradient, of_weight) = value_and_gradients(theirs, *batch(seed=seed))
    expected = (value, [gradient, of_weight.T if transposed else of_weight])
    assert_same(value_and_gradients(ours, *batch(seed=seed)), expected, 1e-8)


def test_arc_face_stays_finite_on_its_own_class_vector() -> None:
    module = build(arc_face)
    embeddings = next(module.parameters()).detach().clone()
    opposite = torch.cat([embeddings, -embeddings])
    _, gradients = value_and_gradients(module, opposite, torch.arange(CLASSES).repeat(2))
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_arc_face_without_margin_is_the_normalized_softmax() -> None:
    plain = build(lambda s: normalized_softmax(s, temperature=0.05))
    arc = build(lambda s: arc_face(s, margin=0.0, scale=20.0))
    assert_same(value_and_gradients(arc, *batch()), value_and_gradients(plain, *batch()), 1e-12)
