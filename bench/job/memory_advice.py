"""Whether trainings fit into a GPU's memory: how many images at a time do, found by small steps before and after."""

import gc
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from bench import datasets
from bench.datasets.held_out import Fold, folds
from bench.job.fit import Pictures, begin, pictures
from bench.job.gpu_memory import room
from bench.job.train import Training
from bench.job.watch import LimitError
from bench.matrix.job import TRAINED, Job
from bench.matrix.recipe import Recipe

__all__ = ["advised", "doubts", "sentence"]

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
    memory, most = _fitting(job, images, fold, SAFE)
    raise LimitError(sentence(memory, most, asked=_at_a_time(job.recipe)))


def doubts(jobs: Sequence[Job], data: Path | None, device: torch.device) -> list[str]:
    """Which trainings may not fit into the memory of the GPU, one sentence each; tried before anything trains.

    One job stands for all of its dataset, backbone and batch: what a loss holds is little beside what the trunk does.
    Trunks that are frozen are passed over, as all that trains on them is small.
    """
    if device.type != "cuda":
        return []
    trained = [job for job in jobs if job.kind in TRAINED and job.recipe.epochs]
    alike = {_what_fills(job): job for job in trained if not job.backbone.parameters.get("frozen")}
    said = [(job, _doubt(job, data, device)) for job in alike.values()]
    return [f"{job.backbone.label} on {job.dataset.label}: {doubt}" for job, doubt in said if doubt]


def _what_fills(job: Job) -> tuple[object, ...]:
    recipe = job.recipe
    return job.dataset.label, job.backbone.label, _at_a_time(recipe), recipe.crop, recipe.precision, recipe.optimizer


def _doubt(job: Job, data: Path | None, device: torch.device) -> str | None:
    """What is wrong with the memory for a job; None where nothing is, or where the job itself will say more."""
    try:
        split = datasets.load(job.dataset, data)
        images = pictures(split, job.recipe, device)
        fold = folds(split.train.labels, job.recipe.validation, seed=job.seed)[0]
        memory, most = _fitting(job, images, fold)
        asked = _at_a_time(job.recipe)
        return sentence(memory, int(SAFE * most), asked=asked) if most < asked else None
    except Exception:
        return None
    finally:
        _free_all()


def _fitting(job: Job, images: Pictures, fold: Fold, share: float = 1.0) -> tuple[int, int]:
    """The bytes that a job may take, and of how many images a step fits into this share of them."""
    memory, most = room(images.device) + torch.cuda.memory_allocated(images.device), 0
    with suppress(torch.OutOfMemoryError):
        most = _most(begin(job, images, fold), images, job.recipe, share * memory)
    _free_all()
    return memory, most


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
