"""Losses that approximate average precision against pytorch-metric-learning, plain loops and the exact ranking."""

from collections.abc import Callable, Iterator

import pytest
import torch
from pytorch_metric_learning import losses as pml
from sklearn.metrics import average_precision_score
from support.sample_batches import CLASSES, assert_same, batch, shape, value_and_gradients
from torch import Tensor, nn
from torch.nn import functional as F

from losses.average_precision import fast_ap, pnp, smooth_ap

VARIANTS = ["O", "Iu", "Ib", "Ds", "Dq"]


def unbalanced(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Classes of 1, 1, 2, 3 and 5 images, in mixed order."""
    embeddings, _ = batch(seed=seed)
    return embeddings[:12], torch.tensor([7, 0, 3, 0, 5, 3, 0, 7, 9, 0, 3, 0])


def opposite(seed: int) -> tuple[Tensor, Tensor]:
    """Every image has an opposite, at the largest distance that there is."""
    embeddings, labels = batch(seed=seed)
    return torch.cat([embeddings[:12], -embeddings[:12]]), labels


class Loops(nn.Module):
    """Mean over queries that have another positive, and over their positives, themselves among them, of a cost."""

    def __init__(self, temperature: float, cost: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.temperature, self.cost = temperature, cost

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        similarity = F.normalize(embeddings) @ F.normalize(embeddings).T
        known, n = labels.tolist(), len(labels)
        queries = []
        for q in (q for q in range(n) if known.count(known[q]) > 1):
            costs = []
            for i in (i for i in range(n) if known[i] == known[q]):
                before = [torch.sigmoid((similarity[q, j] - similarity[q, i]) / self.temperature) for j in range(n)]
                positives = sum(before[j] for j in range(n) if j != i and known[j] == known[q])
                costs.append(self.cost(positives, sum(before[j] for j in range(n) if known[j] != known[q])))
            queries.append(sum(costs) / len(costs))
        return sum(queries) / len(queries)


def penalty(variant: str, r: Tensor) -> Tensor:
    """As the paper prints them, alpha 3 and b 1.5."""
    return {
        "O": r,
        "Iu": (1 + r) * torch.log(1 + r),
        "Ib": (1.5 * r - torch.log(1 + 1.5 * r)) / 1.5**2,
        "Ds": torch.log(1 + r),
        "Dq": 1 - 1 / (1 + r) ** 3,
    }[variant]


@pytest.fixture
def double_by_default() -> Iterator[None]:
    """For the sum that pytorch-metric-learning keeps in the default precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double_by_default")
@pytest.mark.parametrize("seed", range(3))
def test_smooth_ap_agrees_with_pml_where_that_is_right(seed: int) -> None:
    """In order, and as many images per class as classes."""
    embeddings, labels = batch(seed=seed, per_class=CLASSES)
    ordered = labels.sort(stable=True)
    rows = embeddings[ordered.indices], ordered.values
    theirs = value_and_gradients(pml.SmoothAPLoss(temperature=0.02), *rows)
    assert_same(value_and_gradients(smooth_ap(shape(), temperature=0.02), *rows), theirs, 1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_smooth_ap_of_unbalanced_classes_agrees_with_loops(seed: int) -> None:
    loops = Loops(0.05, lambda positives, negatives: 1 - (1 + positives) / (1 + positives + negatives))
    expected = value_and_gradients(loops, *unbalanced(seed))
    assert_same(value_and_gradients(smooth_ap(shape(), temperature=0.05), *unbalanced(seed)), expected, 1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("variant", VARIANTS)
def test_pnp_agrees_with_pml(variant: str, seed: int) -> None:
    ours = value_and_gradients(pnp(shape(), variant=variant, alpha=3, b=1.5), *batch(seed=seed))
    theirs = pml.PNPLoss(variant=variant, alpha=3, b=1.5, anneal=0.01)
    assert_same(ours, value_and_gradients(theirs, *batch(seed=seed)), 1e-9)


@pytest.mark.parametrize("variant", VARIANTS)
def test_pnp_of_unbalanced_classes_agrees_with_loops(variant: str) -> None:
    loops = Loops(0.05, lambda positives, negatives: penalty(variant, negatives))
    ours = value_and_gradients(pnp(shape(), variant=variant, alpha=3, b=1.5, temperature=0.05), *unbalanced())
    assert_same(ours, value_and_gradients(loops, *unbalanced()), 1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bins", [1, 7, 10])
@pytest.mark.parametrize("draw", [lambda seed: batch(seed=seed), unbalanced, opposite])
def test_fast_ap_agrees_with_pml(draw: Callable[[int], tuple[Tensor, Tensor]], bins: int, seed: int) -> None:
    ours = value_and_gradients(fast_ap(shape(), bins=bins), *draw(seed))
    assert_same(ours, value_and_gradients(pml.FastAPLoss(num_bins=bins), *draw(seed)), 1e-9)


def test_cold_sigmoids_count_as_the_ranking_does() -> None:
    embeddings, labels = unbalanced()
    similarity = (F.normalize(embeddings) @ F.normalize(embeddings).T).numpy()
    precision, penalised = [], []
    for scores, own in zip(similarity, labels.tolist(), strict=True):
        relevant = (labels == own).numpy()
        if relevant.sum() > 1:
            precision.append(average_precision_score(relevant, scores))
            penalised.append((scores[~relevant] > scores[relevant][:, None]).sum() / relevant.sum())
    cold = {"temperature": 1e-6}
    assert smooth_ap(shape(), **cold)(embeddings, labels).item() == pytest.approx(1 - sum(precision) / 10, abs=1e-9)
    assert pnp(shape(), variant="O", **cold)(embeddings, labels).item() == pytest.approx(sum(penalised) / 10, abs=1e-9)


def test_a_perfect_ranking_costs_nothing() -> None:
    labels = torch.arange(4).repeat(3)
    embeddings = torch.eye(4, dtype=torch.float64)[labels]
    for loss in (smooth_ap, pnp, fast_ap):
        assert loss(shape(4))(embeddings, labels).item() == pytest.approx(0, abs=1e-12)


def big_tensors_kept(per_class: int) -> int:
    """How many different tensors of B² numbers the way back holds."""
    kept: list[Tensor] = []
    embeddings, labels = batch(per_class=per_class)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        smooth_ap(shape())(embeddings.requires_grad_(), labels)
    return len({tensor.data_ptr() for tensor in kept if tensor.shape == (len(labels), len(labels))})


def test_memory_does_not_grow_with_the_size_of_the_classes() -> None:
    assert big_tensors_kept(per_class=8) == big_tensors_kept(per_class=2)
