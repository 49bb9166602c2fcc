"""Quadruplet against plain loops."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.sample_batches import CLASSES, assert_same, batch, loop_distance, shape, value_and_gradients
from torch import Tensor
from torch.nn import functional as F

from losses.quadruplets import quadruplet, random_quadruplets

OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "crossed": {"crossed": True},
    "of its own margins": {"margin": 0.7, "second_margin": 0.4, "normalize": False},
}


def unbalanced() -> tuple[Tensor, Tensor]:
    """Classes of 1, 1, 1, 1, 4, 4, 4, 4 and 4 images."""
    embeddings, labels = batch()
    return embeddings, labels.where(labels > 0, CLASSES + torch.arange(len(labels)))


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def by_loops(
    points: Tensor, labels: list[int], *, margin: float = 0.2, second_margin: float = 0.2, crossed: bool = False
) -> float:
    apart = [[loop_distance(a, b, squared=False) for b in points] for a in points]
    images, chosen = range(len(labels)), []
    for a in images:
        mates = [i for i in images if i != a and labels[i] == labels[a]]
        others = [i for i in images if labels[i] != labels[a]]
        if mates and others:
            p, g = max(mates, key=lambda i: apart[a][i]), min(others, key=lambda i: apart[a][i])
            third = [i for i in others if labels[i] != labels[g]]
            chosen.append((a, p, g, min(third, key=lambda i: apart[g][i]) if third else None))
    first = [max(0.0, apart[a][p] - apart[a][g] + margin) for a, p, g, _ in chosen]
    second = [
        max(0.0, apart[a][p] - apart[g][other[3]] + second_margin)
        for a, p, g, f in chosen
        for other in (chosen if crossed else [(a, p, g, f)])
        if other[3] is not None
    ]
    return mean(first) + mean(second)


@pytest.mark.parametrize("given", [batch, unbalanced], ids=["balanced", "unbalanced"])
@pytest.mark.parametrize("options", OPTIONS)
def test_quadruplet_agrees_with_loops(options: str, given: Callable[[], tuple[Tensor, Tensor]]) -> None:
    embeddings, labels = given()
    settings = dict(OPTIONS[options])
    points = embeddings if settings.pop("normalize", True) is False else F.normalize(embeddings)
    ours = quadruplet(shape(), **OPTIONS[options])(embeddings, labels)
    assert ours.item() == pytest.approx(by_loops(points, labels.tolist(), **settings), abs=1e-12)


@pytest.mark.parametrize("options", OPTIONS)
def test_gradients_agree_with_differences(options: str) -> None:
    embeddings, labels = batch()
    module = quadruplet(shape(), **OPTIONS[options])
    assert torch.autograd.gradcheck(lambda x: module(x, labels), embeddings.requires_grad_())


def test_without_a_third_class_the_triplets_are_left() -> None:
    points = torch.tensor([[0.0], [1.0], [2.0], [4.0]])
    value = quadruplet(shape(1), margin=0.5, normalize=False)(points, torch.tensor([0, 0, 1, 1]))
    # 1 - 2, 1 - 1, 2 - 1 and 2 - 3, each with the margin; what is below 0 costs nothing
    assert value.item() == pytest.approx((0 + 0.5 + 1.5 + 0) / 4)


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3]], ids=["one class", "no positive"])
@pytest.mark.parametrize("mining", ["hard", "random"])
def test_without_a_triplet_the_loss_is_0_and_has_a_graph(mining: Any, labels: list[int]) -> None:
    points = torch.randn(4, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = quadruplet(shape(), mining=mining)(points, torch.tensor(labels))
    value.backward()
    assert value == 0
    assert points.grad is not None
    assert not points.grad.any()


def test_what_is_drawn_is_of_the_right_classes_and_comes_evenly() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 3])
    torch.manual_seed(0)
    drawn = [random_quadruplets(labels) for _ in range(600)]
    for one in drawn[:50]:
        rows = one.triplet
        assert rows.tolist() == [True] * 5 + [False] * 2
        assert one.whole.tolist() == rows.tolist()
        a, p, g, f = (labels[each][rows] for each in one[:4])
        assert (a == p).all() and (a != g).all() and (f != a).all() and (f != g).all()  # noqa: PT018
        assert (one.anchors != one.positives)[rows].all()
    mates = torch.stack([one.positives[0] for one in drawn]).bincount(minlength=7)
    others = torch.stack([one.negatives[0] for one in drawn]).bincount(minlength=7)
    assert mates.tolist() == [0, *mates[1:3].tolist(), 0, 0, 0, 0]
    assert (mates[1:3] > 250).all()
    assert (others[3:] > 110).all()


def test_random_draws_anew_and_does_not_hang_on_the_order() -> None:
    embeddings, labels = batch()
    module = quadruplet(shape(), mining="random")
    assert len({module(embeddings, labels).item() for _ in range(4)}) > 1
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    torch.manual_seed(3)
    value, (gradient,) = value_and_gradients(module, embeddings, labels)
    torch.manual_seed(3)
    assert_same(value_and_gradients(module, embeddings[order], labels[order]), (value, [gradient[order]]), 1e-9)
