"""What to do when a training runs out of a GPU's memory: how many images at a time would fit, found by small steps."""

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

from bench.datasets.held_out import Fold
from bench.job.fit import Pictures, begin
from bench.job.gpu_memory import room
from bench.job.train import Training
from bench.job.watch import LimitError
from bench.matrix.job import Job
from bench.matrix.recipe import Recipe

__all__ = ["advised", "sentence"]

TRIED = (4, 16)
"""Images of the small steps. What a step holds grows evenly with its images, so two tell the rest."""
SAFE = 0.9
"""Share of the memory that is planned with: some of it is lost in pieces."""


@contextmanager
def advised(job: Job, images: Pictures, fold: Fold) -> Iterator[None]:
    """A training that runs out of the GPU's memory ends with a sentence that says what would fit.

    Raises:
        LimitError: it has.
    """
    try:
        yield
        return
    except torch.OutOfMemoryError as error:
        traceback.clear_frames(error.__traceback__)  # they hold what the training held
    _free_all()
    memory, most = room(images.device) + torch.cuda.memory_allocated(images.device), 0
    with suppress(torch.OutOfMemoryError):
        most = _most(begin(job, images, fold), images, job.recipe, SAFE * memory)
    _free_all()
    raise LimitError(sentence(memory, most, asked=_at_a_time(job.recipe)))


def sentence(memory: float, most: int, *, asked: int) -> str:
    """What is wrong, and what to do, where steps of `asked` images did not fit into so many bytes and `most` would."""
    has = f"the {memory / 1e9:.1f} GB of the GPU's memory that the job may take"
    if most < 1:
        return f"{has} are too little for one image: take a smaller trunk or crop, or fewer jobs on each GPU"
    if most < asked:
        return f"{has} are too little for {asked} images at a time: set images_at_a_time = {most}"
    return f"{has} did not suffice, though {most} images at a time would fit now: let fewer jobs share the GPU"


def _at_a_time(recipe: Recipe) -> int:
    batch = recipe.classes_per_batch * recipe.images_per_class
    return min(recipe.images_at_a_time or batch, batch)


def _most(training: Training, images: Pictures, recipe: Recipe, memory: float) -> int:
    """Of how many images a step fits into so many bytes, at most."""
    _held(training, images, recipe, TRIED[0])  # what the first step allocates for all others
    few, more = (_held(training, images, recipe, count) for count in TRIED)
    of_each = (more - few) / (TRIED[1] - TRIED[0])
    return int(TRIED[0] + (memory - few) / max(of_each, 1))


def _held(training: Training, images: Pictures, recipe: Recipe, count: int) -> int:
    """Bytes at the peak of a step of so many images; the loss's own, which are few, left out."""
    model, device = training.model.train(), images.device
    torch.cuda.reset_peak_memory_stats(device)
    inputs = images.draw(torch.arange(count) % len(images.split.train.labels), training.generators["augmentation"])
    precision = getattr(torch, recipe.precision)
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        embeddings = model(inputs)
    embeddings.float().square().mean().backward()
    for tensor in training.objective.parameters():
        tensor.grad = torch.zeros_like(tensor)
    training.optimizer.step()
    training.optimizer.zero_grad()
    return torch.cuda.max_memory_allocated(device)


def _free_all() -> None:
    gc.collect()
    torch.cuda.empty_cache()
