"""The Group Loss against plain loops, numeric gradients and NumPy, and its corners."""

import math

import numpy as np
import pytest
import torch
from support.sample_batches import CLASSES, DIM, batch, build, shape
from torch import Tensor
from torch.nn import functional as F

from losses.group_loss import correlation, first_of_class, group, group_loss, refined


def logits(*, seed: int = 0, rows: int = 24) -> Tensor:
    return 3 * torch.randn(rows, CLASSES + 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loop_loss(
    features: Tensor, scores: Tensor, labels: Tensor, *, anchors: int, temperature: float, iterations: int
) -> float:
    n, classes = scores.shape
    similarity = np.maximum(np.corrcoef(features.numpy()), 0)
    seen = dict.fromkeys(labels.tolist(), 0)
    rows = []
    for i, label in enumerate(labels.tolist()):
        exps = [math.exp(z / temperature) for z in scores[i].tolist()]
        is_anchor, seen[label] = seen[label] < anchors, seen[label] + 1
        rows.append([float(c == label) if is_anchor else exps[c] / sum(exps) for c in range(classes)])
    for _ in range(iterations):
        support = [
            [rows[i][c] * sum(similarity[i, j] * rows[j][c] for j in range(n)) for c in range(classes)]
            for i in range(n)
        ]
        rows = [[value / sum(row) for value in row] for row in support]
    return -sum(math.log(rows[i][label] + 1e-12) for i, label in enumerate(labels.tolist())) / n


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("anchors", [0, 1, 3])
@pytest.mark.parametrize(("temperature", "iterations"), [(1.0, 1), (24.0, 3), (math.inf, 2)])
def test_group_loss_agrees_with_plain_loops(seed: int, anchors: int, temperature: float, iterations: int) -> None:
    """An infinite temperature is a uniform prior."""
    features, labels = batch(seed=seed)
    setting = {"anchors": anchors, "temperature": temperature, "iterations": iterations}
    ours = group_loss(features, logits(seed=seed), labels, **setting)
    assert ours.item() == pytest.approx(loop_loss(features, logits(seed=seed), labels, **setting), abs=1e-10)


@pytest.mark.parametrize("iterations", [1, 3])
def test_gradients_are_numeric_ones(iterations: int) -> None:
    features, labels = batch(per_class=2)
    inputs = features.requires_grad_(), logits(rows=len(labels)).requires_grad_()

    def loss(features: Tensor, scores: Tensor) -> Tensor:
        return group_loss(features, scores, labels, anchors=1, temperature=2.0, iterations=iterations)

    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("value", [0.0, 0.1, -7.3])
def test_a_constant_row_is_like_itself_alone(dtype: torch.dtype, value: float) -> None:
    features, labels = batch(dtype=dtype)
    features[3] = value
    features[4] = 2 * value
    features.requires_grad_()
    similarity = correlation(features)
    expected = F.one_hot(torch.tensor([3, 4]), len(labels)).to(dtype)
    assert torch.equal(similarity[[3, 4]], expected)
    scores = logits().to(dtype).requires_grad_()
    group_loss(features, scores, labels, anchors=1, temperature=1.0, iterations=2).backward()
    assert not features.grad[[3, 4]].any()
    assert features.grad.isfinite().all()
    assert scores.grad.isfinite().all()


def test_correlation_is_pearsons() -> None:
    features, _ = batch()
    expected = torch.from_numpy(np.corrcoef(features.numpy()))
    torch.testing.assert_close(correlation(features), expected)
    torch.testing.assert_close(correlation(1e3 * features + 5), expected)


def test_anchors_are_the_first_of_their_class() -> None:
    labels = torch.tensor([2, 0, 2, 2, 0, 1, 0, 2])
    assert first_of_class(labels, 2).nonzero()[:, 0].tolist() == [0, 1, 2, 4, 5]
    assert not first_of_class(labels, 0).any()


def test_where_every_image_is_an_anchor_only_the_classifier_learns() -> None:
    embeddings, labels = batch(per_class=2)
    module = build(lambda s: group(s, anchors=2, temperature=1.0))
    loss = module(embeddings, labels)
    torch.testing.assert_close(loss, F.cross_entropy(module.classifier(embeddings), labels))


def test_the_classification_term_is_weighed() -> None:
    embeddings, labels = batch()
    without, half = (build(lambda s, w=w: group(s, classification=w)) for w in (0.0, 0.5))
    scores = half.classifier(embeddings)
    term = F.cross_entropy(scores, labels)
    refinement = group_loss(embeddings, scores, labels, anchors=2, temperature=24.0, iterations=1)
    torch.testing.assert_close(without(embeddings, labels), refinement)
    torch.testing.assert_close(half(embeddings, labels), refinement + term / 2)


@pytest.mark.parametrize("iterations", [1, 5])
def test_no_image_loses_all_its_classes_in_single_precision(iterations: int) -> None:
    """Thousands of classes, distributions that are certain of a wrong one."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 32, generator=generator).requires_grad_()
    scores = (1e4 * torch.randn(60, 11_318, generator=generator)).requires_grad_()
    labels = torch.arange(60) // 6
    setting = {"anchors": 2, "temperature": 1.0, "iterations": iterations}
    torch.testing.assert_close(refined(features, scores, labels, **setting).sum(1), torch.ones(60))
    loss = group_loss(features, scores, labels, **setting)
    loss.backward()
    assert all(x.isfinite().all() for x in (loss, features.grad, scores.grad))


@pytest.mark.parametrize("anchors", [4, 5])
def test_anchors_that_leave_no_image_to_learn_from_are_refused(anchors: int) -> None:
    with pytest.raises(
        ValueError,
        match=r"set recipe\.images_per_class=5 or more" if anchors == 4 else r"set recipe\.images_per_class=6",
    ):
        group(shape()._replace(images_per_class=4), anchors=anchors)


@pytest.mark.parametrize("images_per_class", [1, 4, None])
def test_anchors_that_leave_images_are_accepted(images_per_class: int | None) -> None:
    module = group(shape()._replace(images_per_class=images_per_class), anchors=0 if images_per_class == 1 else 3)
    assert module.classifier.weight.shape == (CLASSES, DIM)
