"""What an ensemble costs: a training step with it, against a step with its most expensive member alone.

A step is forward, backward and AdamW of Conv-4 on 28 × 28 grey images, with 32 classes × 4 images per batch and 128
dimensions, on one thread. All steps of a table are measured in turns within one run, in the processor's time for this
process, so that it counts for little what else the machine does.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from bench.job.backbones import conv4
from bench.job.network import embedder
from bench.job.optimizer import Rates, optimizer
from bench.matrix.catalogue import entries
from losses.shape import Shape

MEMBERS = ("softmax", "triplet", "binomial_deviance", "proxy_nca")
CLASSES_PER_BATCH, IMAGES_PER_CLASS, DIM = 32, 4, 128
BUDGET = 1.35


def objectives(classes: int) -> dict[str, nn.Module]:
    """The members alone, then every ensemble that takes several of them."""
    shape = Shape(DIM, classes, images_per_class=IMAGES_PER_CLASS)
    members = [entries("losses")[name].function() for name in MEMBERS]
    alone = {name: member(shape) for name, member in zip(MEMBERS, members, strict=True)}
    ensembles = {name: entry.function() for name, entry in entries("ensembles").items() if name != "cross_batch_memory"}
    return {**alone, **{name: ensemble(shape, members) for name, ensemble in ensembles.items()}}


def step(objective: nn.Module, classes: int) -> Callable[[], None]:
    """One training step of a model of its own, on ready images."""
    torch.manual_seed(0)
    images = torch.rand(CLASSES_PER_BATCH * IMAGES_PER_CLASS, 1, 28, 28)
    labels = torch.randperm(classes)[:CLASSES_PER_BATCH].repeat_interleave(IMAGES_PER_CLASS)
    model = embedder(conv4(1), images, DIM)
    adam = optimizer(model, objective, Rates(1e-3, 1e-3, 1e-2), weight_decay=1e-4)

    def work() -> None:
        adam.zero_grad()
        objective(model(images), labels).backward()
        adam.step()

    return work


def seconds(work: Callable[[], None]) -> float:
    work()  # finds in the cache what another left there
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(classes: int, rounds: int = 15) -> dict[str, float]:
    """Median milliseconds of a step, by objective."""
    steps = {name: step(objective, classes) for name, objective in objectives(classes).items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, work in steps.items():
            times[name].append(seconds(work))
    return {name: 1e3 * statistics.median(found) for name, found in times.items()}


def main() -> None:
    """Print one table per number of training classes: milliseconds, and the ratio to the most expensive member."""
    for classes in (150, 1000):
        found = measure(classes)
        most = max(found[name] for name in MEMBERS)
        title = f"A training step, {classes:,} classes, one thread; budget {BUDGET}"
        table = Table("objective", "ms", "× most expensive member", title=title)
        for name, milliseconds in found.items():
            table.add_row(name, f"{milliseconds:.1f}", f"{milliseconds / most:.3f}", end_section=name == MEMBERS[-1])
        Console().print(table)


if __name__ == "__main__":
    main()
