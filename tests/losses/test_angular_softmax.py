"""Softmax losses with margins against pytorch-metric-learning, their limits, and angles of 0 and pi."""

import math

import numpy as np
import pytest
import torch
from pytorch_metric_learning import losses as pml
from support.sample_batches import CLASSES, DIM, Loss, assert_same, batch, build, shape, value_and_gradients
from torch.nn import functional as F

from bench.matrix.catalogue import check, find
from losses.angular_softmax import (
    arc_face,
    cos_face,
    large_margin_softmax,
    multiplied,
    sphere_face,
    sub_center_arc_face,
)
from losses.class_softmax import normalized_softmax, softmax

SUB_CENTERS = 3
LOSSES = {
    "arc_face": (arc_face, lambda: pml.ArcFaceLoss(CLASSES, DIM, margin=np.degrees(0.5))),
    "arc_face past half a turn": (
        lambda s: arc_face(s, margin=1.5, scale=10.0),
        lambda: pml.ArcFaceLoss(CLASSES, DIM, margin=np.degrees(1.5), scale=10),
    ),
    "cos_face": (cos_face, lambda: pml.CosFaceLoss(CLASSES, DIM)),
    "sphere_face": (sphere_face, lambda: pml.SphereFaceLoss(CLASSES, DIM)),
    "sphere_face of 3": (
        lambda s: sphere_face(s, margin=3, scale=2.0),
        lambda: pml.SphereFaceLoss(CLASSES, DIM, margin=3, scale=2),
    ),
    "large_margin_softmax": (large_margin_softmax, lambda: pml.LargeMarginSoftmaxLoss(CLASSES, DIM)),
    "sub_center_arc_face": (
        sub_center_arc_face,
        lambda: pml.SubCenterArcFaceLoss(num_classes=CLASSES, embedding_size=DIM, margin=np.degrees(0.5)),
    ),
}


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", LOSSES)
def test_losses_with_margins_agree_with_pml(name: str, seed: int) -> None:
    ours, theirs = build(LOSSES[name][0]), LOSSES[name][1]().double()
    several = len(ours.weight) // CLASSES
    theirs.W.data = ours.weight.data.view(several, CLASSES, DIM).permute(2, 1, 0).reshape(DIM, -1).clone()
    value, (gradient, of_weight) = value_and_gradients(theirs, *batch(seed=seed))
    of_weight = of_weight.view(DIM, CLASSES, several).permute(2, 1, 0).reshape(-1, DIM)
    assert_same(value_and_gradients(ours, *batch(seed=seed)), (value, [gradient, of_weight]), 1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "loss", [arc_face, cos_face, large_margin_softmax, sphere_face, sub_center_arc_face], ids=lambda loss: loss.__name__
)
def test_embeddings_on_and_opposite_their_class_vectors_stay_finite(loss: Loss, dtype: torch.dtype) -> None:
    module = build(loss, dtype)
    vectors = module.weight.detach()[:CLASSES]
    value, gradients = value_and_gradients(
        module, torch.cat([vectors, -vectors, torch.zeros_like(vectors)]), torch.arange(CLASSES).repeat(3)
    )
    assert value.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("margin", range(1, 7))
def test_a_multiplied_angle_falls_from_one_to_one_less_twice_the_margin(margin: int) -> None:
    angles = torch.linspace(0, math.pi, 1201, dtype=torch.float64)
    found = multiplied(angles.cos(), margin)
    for angle, psi in zip(angles.tolist(), found.tolist(), strict=True):
        k = min(int(margin * angle / math.pi), margin - 1)
        assert psi == pytest.approx((-1) ** k * math.cos(margin * angle) - 2 * k, abs=1e-10)
    assert (found.diff() < 0).all()
    assert found[[0, -1]].tolist() == pytest.approx([1, 1 - 2 * margin])


@pytest.mark.parametrize("loss", [arc_face, cos_face])
def test_without_margin_it_is_the_normalized_softmax(loss: Loss) -> None:
    plain = build(lambda s: normalized_softmax(s, temperature=0.05))
    bare = build(lambda s: loss(s, margin=0.0, scale=20.0))
    assert_same(value_and_gradients(bare, *batch()), value_and_gradients(plain, *batch()), 1e-12)


def test_large_margin_softmax_with_margin_1_is_the_softmax_without_bias() -> None:
    ours, plain = build(lambda s: large_margin_softmax(s, margin=1)), build(softmax)
    weight, bias = plain.parameters()
    weight.data, bias.data = ours.weight.data.clone(), torch.zeros_like(bias)
    value, (gradient, of_weight, _) = value_and_gradients(plain, *batch())
    assert_same(value_and_gradients(ours, *batch()), (value, [gradient, of_weight]), 1e-12)


def test_sphere_face_takes_the_length_of_the_embedding_and_not_that_of_the_weights() -> None:
    large, sphere = build(large_margin_softmax), build(sphere_face)
    large.weight.data = F.normalize(sphere.weight.data)
    expected = large(*batch()).detach()
    sphere.weight.data *= 3
    torch.testing.assert_close(sphere(*batch()).detach(), expected)


def test_easing_lies_between_the_plain_angle_and_the_multiplied_one() -> None:
    embeddings, labels = batch()
    embeddings, labels = embeddings[:1], labels[:1]
    module = build(sphere_face)
    cosines = F.normalize(embeddings) @ F.normalize(module.weight).T
    logits, y = (cosines * embeddings.norm()).detach()[0], int(labels)
    psi = multiplied(cosines[0, y], 4).item()
    logits[y] = (5 * cosines[0, y].item() + psi) / 6 * embeddings.norm()
    expected = (logits.logsumexp(0) - logits[y]).item()
    assert build(lambda s: sphere_face(s, easing=5.0))(embeddings, labels).item() == pytest.approx(expected)


def test_sub_centers_that_are_alike_make_arc_face() -> None:
    arc, several = build(arc_face), sub_center_arc_face(shape(), sub_centers=SUB_CENTERS).double()
    several.weight.data = arc.weight.data.repeat(SUB_CENTERS, 1)
    value, (gradient, of_weight) = value_and_gradients(several, *batch())
    summed = of_weight.view(SUB_CENTERS, CLASSES, DIM).sum(0)
    assert_same((value, [gradient, summed]), value_and_gradients(arc, *batch()), 1e-12)


def test_a_margin_in_degrees_is_refused() -> None:
    with pytest.raises(ValueError, match=r"margin = 28\.6 is not possible"):
        check(find("losses", "arc_face"), {"margin": 28.6})
