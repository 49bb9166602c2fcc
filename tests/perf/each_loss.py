"""What a loss costs: forward and backward on ready embeddings, beside pytorch-metric-learning's version of it.

Two things stand beside every time: the product of the embeddings with one another (forward and backward), which no
pair loss can do without, and PML's contrastive loss, the cheapest that is in common use. Everything is measured in
turns within one run, on as many threads as there are cores.
"""

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning import miners
from rich.console import Console
from rich.table import Column, Table
from torch import Tensor
from torch.nn import functional as F

from bench.matrix.catalogue import entries
from losses.shape import Shape

CLASSES, IMAGES_PER_CLASS = 200, 4
SIZES = ((128, 128), (512, 128), (128, 512), (512, 512))
TEXT = 64

Objective = Callable[[Tensor, Tensor], Tensor]


def mined(loss: Any, miner: Any) -> Objective:
    return lambda embeddings, labels: loss(embeddings, labels, miner(embeddings, labels))


def fresh_dynamic_soft_margin(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Anew every time: its histogram holds on to the graph of the last batch."""
    loss: Tensor = pml.DynamicSoftMarginLoss()(embeddings, labels)
    return loss


PML: dict[str, Callable[[int], Objective]] = {
    "angular": lambda _: pml.AngularLoss(),
    "arc_face": lambda dim: pml.ArcFaceLoss(CLASSES, dim),
    "circle": lambda _: pml.CircleLoss(),
    "contrastive": lambda _: pml.ContrastiveLoss(),
    "cos_face": lambda dim: pml.CosFaceLoss(CLASSES, dim),
    "dynamic_soft_margin": lambda _: fresh_dynamic_soft_margin,
    "fast_ap": lambda _: pml.FastAPLoss(),
    "generalized_lifted_structure": lambda _: pml.GeneralizedLiftedStructureLoss(),
    "histogram": lambda _: pml.HistogramLoss(),
    "intra_pair_variance": lambda _: pml.IntraPairVarianceLoss(),
    "large_margin_softmax": lambda dim: pml.LargeMarginSoftmaxLoss(CLASSES, dim),
    "lifted_structure": lambda _: pml.LiftedStructureLoss(),
    "margin": lambda _: mined(pml.MarginLoss(), miners.DistanceWeightedMiner()),
    "multi_similarity": lambda _: mined(pml.MultiSimilarityLoss(), miners.MultiSimilarityMiner()),
    "n_pair": lambda _: pml.NPairsLoss(),
    "nca": lambda _: pml.NCALoss(),
    "normalized_softmax": lambda dim: pml.NormalizedSoftmaxLoss(CLASSES, dim),
    "nt_xent": lambda _: pml.NTXentLoss(),
    "p2s_grad": lambda dim: pml.P2SGradLoss(dim, CLASSES),
    "pnp": lambda _: pml.PNPLoss(),
    "proxy_anchor": lambda dim: pml.ProxyAnchorLoss(CLASSES, dim),
    "proxy_nca": lambda dim: pml.ProxyNCALoss(CLASSES, dim),
    "ranked_list": lambda _: pml.RankedListLoss(margin=0.4, Tn=10),
    "signal_to_noise_contrastive": lambda _: pml.SignalToNoiseRatioContrastiveLoss(),
    "smooth_ap": lambda _: pml.SmoothAPLoss(),
    "soft_triple": lambda dim: pml.SoftTripleLoss(CLASSES, dim),
    "sphere_face": lambda dim: pml.SphereFaceLoss(CLASSES, dim),
    "sub_center_arc_face": lambda dim: pml.SubCenterArcFaceLoss(num_classes=CLASSES, embedding_size=dim),
    "sup_con": lambda _: pml.SupConLoss(),
    "threshold_consistent_margin": lambda _: pml.ThresholdConsistentMarginLoss(),
    "triplet": lambda _: mined(pml.TripletMarginLoss(), miners.TripletMarginMiner(type_of_triplets="semihard")),
    "tuplet_margin": lambda _: pml.TupletMarginLoss(),
}
"""Loss -> its version there, for a width of the embedding."""


def seconds(objective: Objective, embeddings: Tensor, labels: Tensor) -> float:
    embeddings = embeddings.clone().requires_grad_()
    start = time.perf_counter()
    objective(embeddings, labels).backward()
    return time.perf_counter() - start


def product(embeddings: Tensor, _labels: Tensor) -> Tensor:
    unit = F.normalize(embeddings)
    return (unit @ unit.T).sum()


def in_turns(objectives: dict[str, Objective], embeddings: Tensor, labels: Tensor, rounds: int) -> dict[str, float]:
    """Median milliseconds of each over the rounds; one that takes more than a second is not repeated.

    In a round each runs twice and the second run counts: the first finds in the cache what another left there.
    """
    times: dict[str, list[float]] = {}
    for name, objective in objectives.items():
        seconds(objective, embeddings[:8], labels[:8])  # imports and first allocations
        times[name] = [seconds(objective, embeddings, labels)]
    for _ in range(rounds):
        for name in [name for name in objectives if times[name][0] < 1]:
            seconds(objectives[name], embeddings, labels)
            times[name].append(seconds(objectives[name], embeddings, labels))
    return {name: 1e3 * statistics.median(found[1:] or found) for name, found in times.items()}


def measure(batch: int, dim: int, rounds: int = 9) -> dict[str, float]:
    """Milliseconds by name; PML's versions are named `pml.NAME`."""
    torch.manual_seed(0)
    labels = torch.randperm(CLASSES)[: batch // IMAGES_PER_CLASS].repeat_interleave(IMAGES_PER_CLASS)
    embeddings = torch.randn(CLASSES, dim)[labels] + torch.randn(batch, dim)
    shape = Shape(dim, CLASSES, F.normalize(torch.randn(CLASSES, TEXT)), IMAGES_PER_CLASS)
    ours = {name: entry.function()(shape) for name, entry in entries("losses").items()}
    theirs = {f"pml.{name}": make(dim) for name, make in PML.items()}
    return in_turns({"product": product, **theirs, **ours}, embeddings, labels, rounds)


def main() -> None:
    """Print a table per size: milliseconds, ratios to PML's contrastive and to the bare product, PML's own version."""
    warnings.filterwarnings("ignore", module="pytorch_metric_learning")
    for batch, dim in SIZES:
        found = measure(batch, dim)
        yardstick = found["pml.contrastive"]
        table = Table(
            Column("loss", no_wrap=True), "ms", "× contrastive", "× product", "PML's, ms", title=f"{batch} × {dim}"
        )
        for name in entries("losses"):
            own = found[name]
            other = found.get(f"pml.{name}")
            ratios = f"{own / yardstick:.2f}", f"{own / found['product']:.1f}"
            table.add_row(name, f"{own:.2f}", *ratios, "" if other is None else f"{other:.1f}")
        Console().print(table)


if __name__ == "__main__":
    main()
