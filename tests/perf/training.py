"""What the harness costs, against the bare thing it wraps: `make bench-perf` prints a table of ratios and times.

Machines are noisy, so nothing here passes or fails; both sides of a ratio are measured in turns within one run.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from support.sample_rows import history, large
from torch.optim.lr_scheduler import LambdaLR

from bench import datasets, report, store
from bench.datasets.held_out import folds
from bench.job.batches import augmented, epochs, generators, reader
from bench.job.fit import build
from bench.job.optimizer import Rates, optimizer, schedule
from bench.job.run import run
from bench.job.sampler import steps
from bench.job.train import Training, train
from bench.matrix.expand import expand
from bench.matrix.file import load
from bench.matrix.job import Job

CPU = torch.device("cpu")
BENCH = str(Path(sys.executable).with_name("bench"))


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def command(*arguments: str) -> float:
    """Median of five whole processes, after one warm-up."""
    times = [seconds(lambda: subprocess.run([BENCH, *arguments], capture_output=True, check=True)) for _ in range(6)]
    return statistics.median(times[1:])


def job(batch: int) -> Job:
    """Triplet on glyphs with Conv-4, one epoch of batches of this size."""
    changes = ["recipe.epochs=1", f"recipe.classes_per_batch={batch // 4}", 'losses=["triplet"]', "ensembles=[]"]
    return expand(load("demo", [*changes, "model_ensembles=[]"]))[0]


def step_overhead(batch: int, rounds: int = 7) -> tuple[float, float, float]:
    """Milliseconds of a training step, of the bare step of the same model on ready tensors, and the median ratio."""
    cell = job(batch)
    split, recipe = datasets.load(cell.dataset, None), cell.recipe
    fold = folds(split.train.labels, None, seed=0)[0]
    model, objective = build(cell, split, fold, seed=0, device=CPU)
    adam = optimizer(model, objective, Rates(1e-3, 1e-3, 1e-2), weight_decay=1e-4)
    count = steps(len(split.train.labels), classes=recipe.classes_per_batch, images=recipe.images_per_class)
    draw = augmented(reader(split.train.images, CPU), recipe)
    rate = schedule("cosine", 1)
    ready = list(next(epochs(draw, fold.labels, recipe, draws=generators(0))))

    def ours() -> None:
        feed = epochs(draw, fold.labels, recipe, draws=generators(0))
        scheduler = LambdaLR(adam, lambda step: rate(step / count))
        list(train(Training(model, objective, adam, scheduler, {}), feed))

    def bare() -> None:
        model.train()
        for images, labels in ready:
            adam.zero_grad()
            objective(model(images), labels).backward()
            adam.step()

    bare(), ours()
    pairs = [(seconds(ours), seconds(bare)) for _ in range(rounds)]
    own, plain = (statistics.median(side) / count * 1e3 for side in zip(*pairs, strict=True))
    return own, plain, statistics.median(a / b for a, b in pairs)


def fixed_cost() -> float:
    """Seconds of a further job in a warm process that are neither training nor evaluation, storing included."""
    cell = job(32)
    with tempfile.TemporaryDirectory() as folder:

        def once() -> float:
            start = time.perf_counter()
            result = run(cell, data=None, results=Path(folder), device=CPU)
            store.write(Path(folder), result)
            row = result.row
            return time.perf_counter() - start - (row.seconds_train or 0) - (row.seconds_evaluate or 0)

        return statistics.median([once() for _ in range(4)][1:])


def report_cost() -> float:
    """Seconds to write the report over 10,000 rows on 20 boards."""
    rows = large(datasets=5, backbones=4, objectives=25, seeds=20)
    with tempfile.TemporaryDirectory() as folder:
        return seconds(lambda: report.write(rows, history(rows), Path(folder)))


def main() -> None:
    """Measure and print."""
    table = Table("what", "measured", "budget")
    with tempfile.TemporaryDirectory() as folder:
        table.add_row("bench --help", f"{command('--help'):.2f} s", "0.5 s")
        table.add_row("bench plan demo", f"{command('plan', 'demo', '--results', folder):.2f} s", "2 s")
    for batch in (32, 128):
        own, bare, ratio = step_overhead(batch)
        text = f"{ratio:.3f} ({own:.1f} ms / {bare:.1f} ms)"
        table.add_row(f"training step / bare step, Conv-4, batch {batch}, one thread", text, "1.10")
    table.add_row("fixed cost of a further job in a warm worker", f"{fixed_cost():.2f} s", "0.3 s")
    table.add_row("report over 10,000 rows", f"{report_cost():.1f} s", "10 s")
    Console().print(table)


if __name__ == "__main__":
    main()
