"""Centre loss against plain loops, and how its centres move."""

import copy

import pytest
import torch
from support.sample_batches import CLASSES, DIM, batch, build, shape
from torch import Tensor

from losses.centers import center, center_loss, center_steps


def loop_loss(points: Tensor, labels: Tensor, centers: Tensor) -> float:
    squares = [
        sum((x - c) ** 2 for x, c in zip(point, centers[label].tolist(), strict=True))
        for point, label in zip(points.tolist(), labels.tolist(), strict=True)
    ]
    return sum(squares) / len(squares)


def loop_steps(points: Tensor, labels: Tensor, centers: Tensor) -> Tensor:
    steps = torch.zeros_like(centers)
    for j, middle in enumerate(centers):
        own = [i for i, label in enumerate(labels.tolist()) if label == j]
        for i in own:
            steps[j] += (middle - points[i]) / (1 + len(own))
    return steps


def some() -> tuple[Tensor, Tensor, Tensor]:
    """A batch of four of the six classes, unbalanced, and centres."""
    embeddings, labels = batch()
    kept = (labels > 1) & (torch.arange(24) % 5 > 0)
    centers = torch.randn(CLASSES, DIM, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return embeddings[kept], labels[kept], centers


def test_value_and_steps_agree_with_loops() -> None:
    points, labels, centers = some()
    assert center_loss(points, labels, centers).item() == pytest.approx(loop_loss(points, labels, centers), abs=1e-11)
    steps = center_steps(points, labels, centers)
    torch.testing.assert_close(steps, loop_steps(points, labels, centers), rtol=0, atol=1e-12)
    assert not steps[:2].any()


def test_gradients_agree_with_differences() -> None:
    points, labels, centers = some()
    inputs = points.requires_grad_(), centers.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, c: center_loss(x, labels, c), inputs)


def test_centers_move_after_each_batch_of_a_training() -> None:
    module = build(lambda s: center(s, rate=0.3))
    expected = module.centers.clone()
    for seed in range(3):
        embeddings, labels = batch(seed=seed)
        value = module(embeddings, labels)
        assert value.item() == pytest.approx(loop_loss(embeddings, labels, expected), abs=1e-11)
        expected -= 0.3 * loop_steps(embeddings, labels, expected)
        torch.testing.assert_close(module.centers, expected, rtol=0, atol=1e-12)
    module.eval()(*batch(seed=3))
    torch.testing.assert_close(module.centers, expected, rtol=0, atol=1e-12)


def test_the_gradient_of_a_batch_is_of_the_centers_before_it() -> None:
    module = build(center)
    before = module.centers.clone()
    embeddings, labels = batch()
    module(embeddings.requires_grad_(), labels).backward()
    torch.testing.assert_close(embeddings.grad, 2 * (embeddings.detach() - before[labels]) / len(labels))
    assert not module.centers.requires_grad


def test_a_training_continued_from_its_state_has_the_same_bits() -> None:
    module = build(center, torch.float32)
    module(*batch(dtype=torch.float32))
    again = build(center, torch.float32)
    again.load_state_dict(copy.deepcopy(module.state_dict()))
    values = [[one(*batch(seed=seed, dtype=torch.float32)).item() for seed in (1, 2)] for one in (module, again)]
    assert values[0] == values[1]


def test_centers_are_parameters_where_the_gradient_moves_them() -> None:
    module = build(lambda s: center(s, update="gradient"))
    before = module.centers.detach().clone()
    embeddings, labels = batch()
    module(embeddings, labels).backward()
    assert [name for name, _ in module.named_parameters()] == ["centers"]
    assert torch.equal(module.centers.detach(), before)
    own = (labels == 0).nonzero()[:, 0]
    expected = 2 * (before[0] - embeddings[own]).sum(0) / len(labels)
    torch.testing.assert_close(module.centers.grad[0], expected)
    assert repr(module) == f"center(rate=0.5, update='gradient', centers=[{CLASSES}, {DIM}])"


def test_one_class_is_enough() -> None:
    points = torch.randn(4, DIM, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = center(shape())(points, torch.zeros(4, dtype=torch.long))
    value.backward()
    assert value.isfinite()
    assert points.grad is not None
    assert points.grad.any()
