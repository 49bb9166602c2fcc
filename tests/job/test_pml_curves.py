"""Trained from the same weights on the same batches, our losses and those of pytorch-metric-learning have one curve."""

import numpy as np
import pytest
import torch
from support.jobs import go, tiny
from torch import Tensor, nn

from bench import datasets
from bench.datasets.held_out import folds
from bench.job.fit import build
from bench.job.optimizer import Rates, optimizer

pytestmark = pytest.mark.usefixtures("one_thread")


def pml(name: str, **options: object) -> dict[str, object]:
    return {"name": f"pml/{name}", **options}


def ours(name: str, **options: object) -> dict[str, object]:
    return {"name": name, **options}


SQUARED = {"name": "LpDistance", "power": 2}
SEMIHARD = {"name": "TripletMarginMiner", "margin": 0.2, "type_of_triplets": "semihard", "distance": SQUARED}
WITHOUT_WEIGHTS = {
    "triplet": (
        ours("triplet"),
        pml("TripletMarginLoss", margin=0.2, distance=SQUARED, reducer="MeanReducer", miner=SEMIHARD),
    ),
    "contrastive": (
        ours("contrastive", positive_margin=0.3, negative_margin=1.2, squared=False),
        pml("ContrastiveLoss", pos_margin=0.3, neg_margin=1.2),
    ),
    "multi_similarity": (ours("multi_similarity"), pml("MultiSimilarityLoss", miner="MultiSimilarityMiner")),
    "circle": (ours("circle"), pml("CircleLoss")),
    "nt_xent": (ours("nt_xent"), pml("NTXentLoss", temperature=0.1)),
    "sup_con": (ours("sup_con"), pml("SupConLoss")),
    "fast_ap": (ours("fast_ap"), pml("FastAPLoss")),
}

WITH_WEIGHTS = {
    "margin": (ours("margin", mining="all"), pml("MarginLoss", learn_beta=True, num_classes=True)),
    "proxy_anchor": (ours("proxy_anchor"), pml("ProxyAnchorLoss")),
    "proxy_nca": (ours("proxy_nca", positive_in_denominator=True), pml("ProxyNCALoss")),
    "arc_face": (ours("arc_face"), pml("ArcFaceLoss", margin=float(np.degrees(0.5)))),
    "cos_face": (ours("cos_face"), pml("CosFaceLoss")),
    "normalized_softmax": (ours("normalized_softmax"), pml("NormalizedSoftmaxLoss")),
    "soft_triple": (ours("soft_triple", tau=0, centers=3), pml("SoftTripleLoss", centers_per_class=3)),
}


@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
def test_what_has_no_weights_of_its_own_trains_and_scores_alike(name, tmp_path):
    results = [go(*tiny(losses=[loss], recipe={"epochs": 3}), tmp_path) for loss in WITHOUT_WEIGHTS[name]]
    one, other = ([epoch["loss"] for epoch in result.history] for result in results)
    assert one == pytest.approx(other, rel=1e-3)
    assert len(set(one)) > 1
    assert results[0].row.scores["map_at_r"] == pytest.approx(results[1].row.scores["map_at_r"], abs=0.02)


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_what_has_weights_learns_alike_from_the_same_ones(name):
    own, theirs = (built(loss) for loss in WITH_WEIGHTS[name])
    with torch.no_grad():
        for mine, given in zip(own[1].parameters(), theirs[1].parameters(), strict=True):
            mine.copy_(given if mine.shape == given.shape else rows(given, 3 if name == "soft_triple" else 1))
    found = curve(*own)
    assert found == pytest.approx(curve(*theirs), rel=1e-3)
    assert len(set(found)) > 1


def built(loss: object) -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    """Model and objective of a job, and some of its training images, those of a class one after another."""
    (job,) = tiny(losses=[loss])
    split = datasets.load(job.dataset, None)
    (fold,) = folds(split.train.labels, job.recipe.validation, seed=job.seed)
    model, objective = build(job, split, fold, seed=0, device=torch.device("cpu"))
    kept = np.concatenate([np.flatnonzero(split.train.labels == label)[:4] for label in range(12)])
    images = torch.from_numpy(np.ascontiguousarray(split.train.images[kept])).permute(0, 3, 1, 2).float() / 255
    return model, objective, images, torch.from_numpy(split.train.labels[kept])


def curve(model: nn.Module, objective: nn.Module, images: Tensor, labels: Tensor) -> list[float]:
    """The loss in every step."""
    steps, optimized = [], optimizer(model, objective, Rates(0.003, 0.003, 0.03), weight_decay=0.0)
    for rows in torch.arange(len(labels)).split(24) * 4:
        loss = objective(model(images[rows]), labels[rows])
        optimized.zero_grad()
        loss.backward()
        optimized.step()
        steps.append(loss.item())
    return steps


def rows(columns: Tensor, each: int) -> Tensor:
    """Weights [dim, classes · each] as we keep them, [each · classes, dim], the first of all classes first."""
    return columns.view(len(columns), -1, each).permute(2, 1, 0).reshape(-1, len(columns))
