"""Pair and triplet losses against pytorch-metric-learning, plain loops and stored vectors."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_metric_learning import distances, miners, reducers
from pytorch_metric_learning import losses as pml
from sample_batches import (
    CLASSES,
    Loss,
    assert_same,
    batch,
    build,
    error,
    golden,
    loop_distance,
    shape,
    value_and_gradients,
)
from torch import Tensor, nn
from torch.nn import functional as F

from losses.pair import contrastive, multi_similarity, triplet


class Mined(nn.Module):
    def __init__(self, loss: nn.Module, miner: nn.Module) -> None:
        super().__init__()
        self.loss, self.miner = loss, miner

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return self.loss(embeddings, labels, self.miner(embeddings, labels))


def euclidean(*, squared: bool) -> distances.LpDistance:
    return distances.LpDistance(power=2 if squared else 1)


def margin_triplets(kind: str, *, squared: bool) -> Mined:
    measure = euclidean(squared=squared)
    loss = pml.TripletMarginLoss(margin=0.2, distance=measure, reducer=reducers.MeanReducer())
    if kind == "batch_hard":
        return Mined(loss, miners.BatchHardMiner(distance=measure))
    return Mined(loss, miners.TripletMarginMiner(margin=0.2, type_of_triplets=kind, distance=measure))


MINING = [f"{kind}-{squared}" for kind, squared in product(("semihard", "hard", "all", "batch_hard"), (True, False))]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", MINING)
def test_triplet_agrees_with_pml(case: str, seed: int) -> None:
    kind, squared = case.split("-")[0], case.endswith("True")
    ours = triplet(shape(), mining=kind, squared=squared)  # type: ignore[arg-type]
    theirs = margin_triplets(kind, squared=squared)
    assert_same(value_and_gradients(ours, *batch(seed=seed)), value_and_gradients(theirs, *batch(seed=seed)), 1e-9)


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


def test_a_triplet_on_the_edge_of_the_band_is_counted_whole() -> None:
    """Were its two distances counted by different roundings, a triplet that costs nothing would cost one of them."""
    module, labels = triplet(shape(), margin=0.2, squared=False, normalize=False), torch.tensor([0, 0, 1])
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


@pytest.mark.skipif(not golden("triplet"), reason="no golden vectors: set BENCH_SHARED")
@pytest.mark.parametrize("path", golden("triplet"), ids=lambda path: path.stem)
def test_triplet_agrees_with_the_golden_vectors(path: Path) -> None:
    case = np.load(path, allow_pickle=False)
    module = triplet(
        shape(),
        margin=float(case["margin"]),
        mining=("all", "hard", "semihard")[int(case["mining"])],  # type: ignore[arg-type]
        band=float(case["band"]),
        squared=False,
        normalize=False,
    )
    inputs = torch.from_numpy(case["embeddings"]), torch.from_numpy(case["labels"])
    value, (gradient,) = value_and_gradients(module, *inputs)
    assert error(value, case["loss"]) <= 1e-9
    assert error(gradient, case["grad_embeddings"]) <= 1e-8


@pytest.mark.parametrize("loss", [contrastive, triplet, multi_similarity])
def test_without_a_valid_pair_the_loss_is_zero(loss: Loss) -> None:
    embeddings, _ = batch()
    value, _ = value_and_gradients(build(loss), embeddings[:1], torch.zeros(1, dtype=torch.long))
    assert value == 0


def test_triplet_memory_does_not_grow_with_the_triplets() -> None:
    """1,024 images of 16 classes hold 61 million triplets: a list of them would be 1.5 GB."""
    labels = torch.arange(16).repeat(64)
    embeddings = torch.randn(1024, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with torch.profiler.profile(profile_memory=True, acc_events=True) as profile:
        triplet(shape(), mining="all")(embeddings, labels).backward()
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    assert largest <= 4 * 1024 * 1024 * 8
