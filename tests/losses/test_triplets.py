"""Triplet losses against pytorch-metric-learning and plain loops."""

from itertools import product

import pytest
import torch
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning import miners, reducers
from support.sample_batches import (
    CLASSES,
    Mined,
    assert_same,
    batch,
    build,
    euclidean,
    loop_distance,
    shape,
    value_and_gradients,
)
from torch import Tensor, nn
from torch.nn import functional as F

from losses.pairwise import References
from losses.triplets import margin, triplet


def margin_triplets(kind: str, *, squared: bool) -> Mined:
    measure = euclidean(squared=squared)
    loss = pml.TripletMarginLoss(margin=0.2, distance=measure, reducer=reducers.MeanReducer())
    if kind == "batch_hard":
        return Mined(loss, miners.BatchHardMiner(distance=measure))
    if kind == "easy_positive":
        return Mined(loss, miners.BatchEasyHardMiner(pos_strategy="easy", neg_strategy="hard", distance=measure))
    return Mined(loss, miners.TripletMarginMiner(margin=0.2, type_of_triplets=kind, distance=measure))


KINDS = ("semihard", "hard", "all", "batch_hard", "easy_positive")
MINING = [f"{kind}-{squared}" for kind, squared in product(KINDS, (True, False))]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", MINING)
def test_triplet_agrees_with_pml(case: str, seed: int) -> None:
    kind, squared = case.split("-")[0], case.endswith("True")
    ours = triplet(shape(), mining=kind, squared=squared)  # type: ignore[arg-type]
    theirs = margin_triplets(kind, squared=squared)
    assert_same(value_and_gradients(ours, *batch(seed=seed)), value_and_gradients(theirs, *batch(seed=seed)), 1e-9)


def loop_triplets(labels: list[int]) -> list[tuple[int, int, int]]:
    items = range(len(labels))
    return [(a, p, n) for a in items for p in items for n in items if a != p and labels[a] == labels[p] != labels[n]]


def keep_triplet(kind: str, t: float, band: float) -> bool:
    return {"semihard": 0 < t <= band, "hard": t <= 0, "all": t <= band}[kind]


@pytest.mark.parametrize("kind", ["semihard", "hard", "all"])
@pytest.mark.parametrize("band", [0.05, 0.3])
def test_triplet_agrees_with_loops(kind: str, band: float) -> None:
    embeddings, labels = batch(per_class=3)
    unit = F.normalize(embeddings)
    gaps = [
        loop_distance(unit[a], unit[n], squared=True) - loop_distance(unit[a], unit[p], squared=True)
        for a, p, n in loop_triplets(labels.tolist())
    ]
    costs = [max(0.0, 0.3 - t) for t in gaps if keep_triplet(kind, t, band)]
    ours = triplet(shape(), margin=0.3, mining=kind, band=band)(embeddings, labels)  # type: ignore[arg-type]
    assert ours.item() == pytest.approx(sum(costs) / len(costs), abs=1e-12)


@pytest.mark.parametrize("kind", ["semihard", "hard", "all"])
@pytest.mark.parametrize("seed", range(3))
def test_triplets_on_an_edge_are_kept_as_the_inequalities_say(kind: str, seed: int) -> None:
    """On a small grid most triplets are on one; classes of all sizes, the same point often in several of them."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randint(0, 3, (24, 2), generator=generator).double()
    labels = torch.randint(0, 5, (24,), generator=generator).clamp(max=3)
    gaps = [
        loop_distance(points[a], points[n], squared=True) - loop_distance(points[a], points[p], squared=True)
        for a, p, n in loop_triplets(labels.tolist())
    ]
    costs = [3 - t for t in gaps if keep_triplet(kind, t, 2)]
    ours = triplet(shape(2), margin=3.0, mining=kind, band=2.0, normalize=False)(points, labels)  # type: ignore[arg-type]
    assert ours.item() == pytest.approx(sum(costs) / len(costs), abs=1e-12)


def test_a_triplet_on_the_edge_of_the_band_is_counted_whole() -> None:
    """Were its two distances counted by different roundings, a triplet that costs nothing would cost one of them."""
    module, labels = triplet(shape(1), margin=0.2, squared=False, normalize=False), torch.tensor([0, 0, 1])
    for positive in torch.linspace(0.25, 3, 500):
        value = module(torch.stack([0 * positive, positive, positive + 0.2])[:, None], labels)
        assert value.item() == pytest.approx(0, abs=1e-6)


def test_batch_hard_averages_over_anchors_with_both_sides() -> None:
    embeddings, labels = batch(per_class=3)
    labels = labels.where(labels != labels[0], torch.arange(len(labels)) + CLASSES)
    unit = F.normalize(embeddings)
    costs = []
    for a in range(len(labels)):
        spread = [loop_distance(unit[a], other, squared=False) for other in unit]
        near = [d for j, d in enumerate(spread) if j != a and labels[j] == labels[a]]
        far = [d for j, d in enumerate(spread) if labels[j] != labels[a]]
        costs += [max(0.0, 0.2 + max(near) - min(far))] if near and far else []
    ours = triplet(shape(), mining="batch_hard", squared=False)(embeddings, labels)
    assert ours.item() == pytest.approx(sum(costs) / len(costs), abs=1e-12)


def test_triplet_memory_does_not_grow_with_the_triplets() -> None:
    """1,024 images of 16 classes hold 61 million triplets: a list of them would be 1.5 GB."""
    labels = torch.arange(16).repeat(64)
    embeddings = torch.randn(1024, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with torch.profiler.profile(profile_memory=True, acc_events=True) as profile:
        triplet(shape(8), mining="all")(embeddings, labels).backward()
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    assert largest <= 4 * 1024 * 1024 * 8


class OfSomeAnchors(nn.Module):
    """A loss of pytorch-metric-learning over the triplets of some anchors, the rest of the images as references."""

    def __init__(self, loss: nn.Module, anchors: int) -> None:
        super().__init__()
        self.loss, self.anchors = loss, anchors

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        triplets = torch.tensor([t for t in loop_triplets(labels.tolist()) if t[0] < self.anchors])
        return self.loss(embeddings, labels, tuple(triplets.T))


class FirstAsBatch(nn.Module):
    """Our loss, the first images as the batch and all of them as its references."""

    def __init__(self, loss: nn.Module, size: int) -> None:
        super().__init__()
        self.loss, self.size = loss, size

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        references = References(embeddings, labels, torch.arange(self.size))
        return self.loss(embeddings[: self.size], labels[: self.size], references)


REFERENCES = {
    "triplet": (
        lambda s: triplet(s, mining="all"),
        lambda: pml.TripletMarginLoss(margin=0.2, distance=euclidean(squared=True)),
    ),
    "margin": (lambda s: margin(s, mining="all", learn_beta="no"), pml.MarginLoss),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_references_are_the_columns(name: str) -> None:
    ours, theirs = REFERENCES[name]
    expected = value_and_gradients(OfSomeAnchors(theirs(), 7), *batch())
    assert_same(value_and_gradients(FirstAsBatch(build(ours), 7), *batch()), expected, 1e-9)
