"""What a loss costs: forward and backward on ready embeddings, beside pytorch-metric-learning's version of it.

Two things stand beside every time: the product of the embeddings with one another (forward and backward), which no
pair loss can do without, and PML's contrastive loss, the cheapest that is in common use. Everything is measured in
turns within one run, on as many threads as there are cores.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from pytorch_metric_learning import losses as pml
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from bench.catalogue import entries
from losses.shape import Shape

CLASSES, IMAGES_PER_CLASS = 200, 4
SIZES = ((128, 128), (512, 128), (128, 512), (512, 512))
TEXT = 64

Objective = Callable[[Tensor, Tensor], Tensor]


def mined(loss: Any, miner: Any) -> Objective:
    return lambda embeddings, labels: loss(embeddings, labels, miner(embeddings, labels))


PML: dict[str, Callable[[int], Objective]] = {
    "contrastive": lambda _: pml.ContrastiveLoss(),
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
    """Median milliseconds of each, after a warm-up; one that takes more than a second is not repeated."""
    times: dict[str, list[float]] = {name: [] for name in objectives}
    warm = {name: seconds(objective, embeddings, labels) for name, objective in objectives.items()}
    for _ in range(rounds):
        for name, objective in objectives.items():
            if warm[name] < 1:
                times[name].append(seconds(objective, embeddings, labels))
    return {name: 1e3 * (statistics.median(found) if found else warm[name]) for name, found in times.items()}


def measure(batch: int, dim: int, rounds: int = 9) -> dict[str, float]:
    """Milliseconds by name; PML's versions are named `pml.NAME`."""
    torch.manual_seed(0)
    labels = torch.randperm(CLASSES)[: batch // IMAGES_PER_CLASS].repeat(IMAGES_PER_CLASS)
    embeddings = torch.randn(CLASSES, dim)[labels] + torch.randn(batch, dim)
    shape = Shape(dim, CLASSES, F.normalize(torch.randn(CLASSES, TEXT)), IMAGES_PER_CLASS)
    ours = {name: entry.function()(shape) for name, entry in entries("losses").items()}
    theirs = {f"pml.{name}": make(dim) for name, make in PML.items()}
    return in_turns({"product": product, **theirs, **ours}, embeddings, labels, rounds)


def main() -> None:
    """Print a table a size."""
    for batch, dim in SIZES:
        found = measure(batch, dim)
        yardstick = found["pml.contrastive"]
        table = Table("loss", "ms", "× PML contrastive", "× product", "PML's version, ms", title=f"{batch} × {dim}")
        for name in entries("losses"):
            own = found[name]
            other = f"{found[f'pml.{name}']:.1f}" if name in PML else ""
            table.add_row(name, f"{own:.2f}", f"{own / yardstick:.2f}", f"{own / found['product']:.1f}", other)
        Console().print(table)


if __name__ == "__main__":
    main()
