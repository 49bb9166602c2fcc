"""Signal-to-noise triplets against plain loops."""

from statistics import pvariance

import pytest
import torch
from support.sample_batches import CLASSES, assert_same, batch, shape, value_and_gradients
from torch import Tensor, nn
from torch.nn import functional as F

from losses.pairwise import References
from losses.signal_to_noise import signal_to_noise_triplet, signal_to_noise_triplet_loss


def loop_triplets(labels: list[int]) -> list[tuple[int, int, int]]:
    items = range(len(labels))
    return [(a, p, n) for a in items for p in items for n in items if a != p and labels[a] == labels[p] != labels[n]]


def by_loops(
    points: Tensor, triplets: list[tuple[int, int, int]], *, margin: float, zero_mean: float, per: str
) -> float:
    rows = points.tolist()

    def noise(a: int, b: int) -> float:
        return float(pvariance([x - y for x, y in zip(rows[a], rows[b], strict=True)]) / pvariance(rows[a]))

    costs = [max(0.0, noise(a, p) - noise(a, n) + margin) for a, p, n in triplets]
    count = sum(cost > 0 for cost in costs) if per == "costly" else len(costs)
    return sum(costs) / max(1, count) + zero_mean * sum(abs(sum(rows[a])) for a, _, _ in triplets) / len(triplets)


def unbalanced() -> tuple[Tensor, Tensor]:
    """Classes of 1, 1, 1, 4 and 5 images."""
    embeddings, _ = batch()
    return embeddings[:12], torch.tensor([0, 1, 1, 2, 3, 3, 3, 3, 1, 4, 1, 1])


@pytest.mark.parametrize("per", ["costly", "all"])
@pytest.mark.parametrize("normalize", [True, False])
def test_loss_agrees_with_loops(normalize: bool, per: str) -> None:
    embeddings, labels = unbalanced()
    points, settings = F.normalize(embeddings) if normalize else embeddings, {"margin": 0.4, "zero_mean": 0.03}
    triplets = loop_triplets(labels.tolist())
    expected = by_loops(points, triplets, per=per, **settings)
    ours = signal_to_noise_triplet(shape(), normalize=normalize, per=per, **settings)  # type: ignore[arg-type]
    listed = signal_to_noise_triplet_loss(points, torch.tensor(triplets), per=per, **settings)
    assert ours(embeddings, labels).item() == pytest.approx(expected, abs=1e-12)
    assert listed.item() == pytest.approx(expected, abs=1e-12)


class Listed(nn.Module):
    """The loss of all triplets, listed."""

    def __init__(self, per: str) -> None:
        super().__init__()
        self.per = per

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        triplets = torch.tensor(loop_triplets(labels.tolist()))
        return signal_to_noise_triplet_loss(F.normalize(embeddings), triplets, per=self.per)


@pytest.mark.parametrize("per", ["costly", "all"])
def test_gradients_are_those_of_a_list_and_of_differences(per: str) -> None:
    embeddings, labels = unbalanced()
    module = signal_to_noise_triplet(shape(), per=per)  # type: ignore[arg-type]
    expected = value_and_gradients(Listed(per), embeddings, labels)
    assert_same(value_and_gradients(module, embeddings, labels), expected, 1e-9)
    assert torch.autograd.gradcheck(lambda x: module(x, labels), embeddings.requires_grad_())


def test_the_row_is_the_signal_of_references_too() -> None:
    embeddings, labels = batch()
    references = References(embeddings, labels, torch.arange(7))
    triplets = [t for t in loop_triplets(labels.tolist()) if t[0] < 7]
    value = signal_to_noise_triplet(shape())(embeddings[:7], labels[:7], references)
    expected = signal_to_noise_triplet_loss(F.normalize(embeddings), torch.tensor(triplets))
    assert value.item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3]], ids=["one class", "no positive"])
def test_without_a_triplet_the_loss_is_0_and_has_a_graph(labels: list[int]) -> None:
    points = torch.randn(4, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = signal_to_noise_triplet(shape())(points, torch.tensor(labels))
    value.backward()
    assert value == 0
    assert points.grad is not None
    assert not points.grad.any()


def test_without_a_costly_triplet_the_regulariser_is_left() -> None:
    points = torch.zeros(4, CLASSES, dtype=torch.float64)
    points[[0, 1], 0], points[[2, 3], 1] = 1, 1
    value = signal_to_noise_triplet(shape(CLASSES), zero_mean=0.5)(points, torch.tensor([0, 0, 1, 1]))
    assert value.item() == pytest.approx(0.5)
