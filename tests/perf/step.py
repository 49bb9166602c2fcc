"""What makes a step on the processor faster or slower: `python tests/perf/step.py [conv4] [lite0]`.

The bare step of a model on a batch of 128 that is ready, on one thread, with one thing changed at a time. The measures
take turns within one run; a ratio above 1 is that much faster than the eager step of torch's own settings. Machines are
noisy, so nothing here passes or fails.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from bench.execute.pool import MEMORY
from bench.job.backbones import conv4, timm
from bench.job.network import Options, embedder
from bench.job.optimizer import Rates, optimizer
from losses.pair import multi_similarity
from losses.shape import Shape

BATCH, STEPS, ROUNDS = 128, 2, 3


class Measure(NamedTuple):
    """One way to take the same step."""

    precision: torch.dtype = torch.float32
    compiled: bool = False
    channels_last: bool = True
    optimizer: str | None = None
    """fused or foreach; None: torch's choice."""
    repeatable: bool = False
    filled: bool = False
    """Whether memory is filled before it is used, as torch does where results are to be repeatable."""


MEASURES = {
    "eager": Measure(),
    "repeatable, memory filled": Measure(repeatable=True, filled=True),
    "repeatable, not filled: a worker": Measure(repeatable=True),
    "optimizer fused": Measure(optimizer="fused"),
    "optimizer foreach": Measure(optimizer="foreach"),
    "channels first": Measure(channels_last=False),
    "bfloat16": Measure(precision=torch.bfloat16),
    "compiled": Measure(compiled=True),
    "compiled, bfloat16": Measure(compiled=True, precision=torch.bfloat16),
}


def network(trunk: str) -> tuple[nn.Module, torch.Tensor]:
    """A model, and a batch of the size that it is trained on in the matrices."""
    torch.manual_seed(0)
    if trunk == "conv4":
        images = torch.rand(BATCH, 1, 32, 32)
        return embedder(conv4(1, width=48), images[:8], 128, Options(pooling="flatten", norm="batch")), images
    images = torch.rand(BATCH, 3, 64, 64)
    return embedder(timm(3, "tf_efficientnet_lite0", (64, 64)), images[:8], 128), images


@contextmanager
def set_as(measure: Measure) -> Iterator[None]:
    torch.use_deterministic_algorithms(measure.repeatable, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = measure.filled
    yield
    torch.use_deterministic_algorithms(False)


def steps(trunk: str, measure: Measure) -> Callable[[], None]:
    """What takes some steps."""
    model, images = network(trunk)
    model.train().to(memory_format=torch.channels_last if measure.channels_last else torch.contiguous_format)
    objective, labels = multi_similarity(Shape(128, BATCH // 4)), torch.arange(BATCH) // 4
    adam = optimizer(model, objective, Rates(1e-3, 1e-3, 1e-2), weight_decay=1e-4)
    for group in adam.param_groups if measure.optimizer else []:
        group.update(fused=measure.optimizer == "fused", foreach=measure.optimizer == "foreach")
    forward = torch.compile(model) if measure.compiled else model

    def take() -> None:
        with set_as(measure):
            for _ in range(STEPS):
                adam.zero_grad()
                with torch.autocast("cpu", measure.precision, enabled=measure.precision != torch.float32):
                    embeddings = forward(images)
                objective(embeddings.float(), labels).backward()
                adam.step()

    return take


def milliseconds(work: Callable[[], None]) -> float:
    """Of a step."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) / STEPS * 1e3


def main(trunks: list[str]) -> None:
    """Measure and print."""
    for trunk in trunks:
        works = {name: steps(trunk, measure) for name, measure in MEASURES.items()}
        first = {name: milliseconds(work) * STEPS / 1e3 for name, work in works.items()}
        rounds = [{name: milliseconds(work) for name, work in works.items()} for _ in range(ROUNDS)]
        table = Table("measure", "ms", "ratio", "first steps, s", title=f"{trunk}, batch {BATCH}, one thread")
        for name in works:
            ratio = statistics.median(each["eager"] / each[name] for each in rounds)
            own = statistics.median(each[name] for each in rounds)
            table.add_row(name, f"{own:.1f}", f"{ratio:.2f}", f"{first[name]:.1f}")
        Console().print(table)


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in MEMORY.items()):  # read once, when a process begins
        os.execve(sys.executable, [sys.executable, "-P", *sys.argv], {**os.environ, **MEMORY})
    torch.set_num_threads(1)
    main(sys.argv[1:] or ["conv4", "lite0"])
