"""Trained by the harness from the same weights, our losses and those of pytorch-metric-learning have one loss curve."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import torch
from support.jobs import tiny
from torch import Tensor

from bench import datasets
from bench.datasets.held_out import folds
from bench.job.batches import Batches, epochs
from bench.job.fit import begin, pictures
from bench.job.train import Training, train

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")


class Begun(NamedTuple):
    """A training before its first epoch, and its batches."""

    training: Training
    batches: Iterator[Batches]


def begun(loss: object) -> Begun:
    (job,) = tiny(losses=[loss], recipe={"epochs": 4, "loss_rate": 0.03})
    split = datasets.load(job.dataset, None)
    (fold,) = folds(split.train.labels, job.recipe.validation, seed=job.seed)
    images = pictures(split, CPU)
    training = begin(job, images, fold)
    return Begun(training, epochs(images.train, fold.labels, job.recipe, draws=training.generators, device=CPU))


def curve(started: Begun) -> list[float]:
    """The mean loss of every epoch."""
    return [epoch.loss for epoch in train(*started)]


def pml(name: str, **options: object) -> dict[str, object]:
    return {"name": f"pml/{name}", **options}


def ours(name: str, **options: object) -> dict[str, object]:
    return {"name": name, **options}


SQUARED = {"name": "LpDistance", "power": 2}
SEMIHARD = {"name": "TripletMarginMiner", "margin": 0.2, "type_of_triplets": "semihard", "distance": SQUARED}
PAIRS = {
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
    "margin": (ours("margin", mining="all"), pml("MarginLoss", learn_beta=True, num_classes=True)),
    "proxy_anchor": (ours("proxy_anchor"), pml("ProxyAnchorLoss")),
    "proxy_nca": (ours("proxy_nca", positive_in_denominator=True), pml("ProxyNCALoss")),
    "arc_face": (ours("arc_face"), pml("ArcFaceLoss", margin=float(np.degrees(0.5)))),
    "cos_face": (ours("cos_face"), pml("CosFaceLoss")),
    "normalized_softmax": (ours("normalized_softmax"), pml("NormalizedSoftmaxLoss")),
    "soft_triple": (ours("soft_triple", tau=0, centers=3), pml("SoftTripleLoss", centers_per_class=3)),
}


def rows(columns: Tensor, each: int) -> Tensor:
    """Weights [dim, classes · each] as we keep them, [each · classes, dim], the first of all classes first."""
    return columns.view(len(columns), -1, each).permute(2, 1, 0).reshape(-1, len(columns))


@pytest.mark.parametrize("name", PAIRS)
def test_trained_side_by_side_ours_and_theirs_have_one_loss_curve(name):
    one, other = PAIRS[name]
    own, theirs = begun(one), begun(other)
    objectives = own.training.objective, theirs.training.objective
    with torch.no_grad():  # the same weights to begin with, though both draw them otherwise
        for mine, given in zip(*(objective.parameters() for objective in objectives), strict=True):
            mine.copy_(given if mine.shape == given.shape else rows(given, 3 if name == "soft_triple" else 1))
    found = curve(own)
    assert found == pytest.approx(curve(theirs), rel=2e-3)
    assert len({round(value, 4) for value in found}) > 1
