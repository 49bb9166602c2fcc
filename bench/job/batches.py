"""Images on their way to the model: drawn, moved to the device, augmented a whole batch at a time."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.datasets.split import Images
from bench.job.augment import Crop, Distortion, affine, centre
from bench.job.sampler import balanced
from bench.matrix.recipe import Recipe
from bench.matrix.seeds import derive

__all__ = ["Batches", "Reader", "epochs", "example", "generators", "reader"]

Batches = Iterator[tuple[Tensor, Tensor]]

Reader = Callable[[Tensor], Tensor]
"""From rows [B] to uint8 images [B, C, H, W] on the device."""

IN_MEMORY = 2**30
"""Bytes of images that are kept whole on the training device; more are read batch by batch."""


def generators(seed: int) -> dict[str, torch.Generator]:
    """What draws the batches and what draws their augmentation, from the seed of a model."""
    # On the CPU, whatever trains, so that every device sees the same draws.
    return {use: torch.Generator().manual_seed(derive(seed, use)) for use in ("batches", "augmentation")}


def epochs(
    read: Reader,
    labels: NDArray[np.int64],
    recipe: Recipe,
    *,
    draws: Mapping[str, torch.Generator],
    device: torch.device,
    passed: int = 0,
) -> Iterator[Batches]:
    """For every epoch its batches: augmented images float [P·K, C, H, W] and labels [P·K], on the device.

    Args:
        read: gives the images.
        labels: [N] of the images that `read` gives, numbers from 0; images with -1 are never drawn.
        recipe: how many epochs, and what a batch is.
        draws: the `generators`; the last batch of an epoch leaves them where the next epoch begins.
        device: where the batches go.
        passed: epochs that are over.
    """
    rows = torch.from_numpy(np.flatnonzero(labels >= 0))
    for _ in range(passed, recipe.epochs):
        yield _epoch(read, rows, labels[rows.numpy()], recipe, draws, device)


def _epoch(
    read: Reader,
    rows: Tensor,
    labels: NDArray[np.int64],
    recipe: Recipe,
    draws: Mapping[str, torch.Generator],
    device: torch.device,
) -> Batches:
    known = torch.from_numpy(labels).to(device)
    how = _distortion(recipe)
    for chosen in balanced(labels, draws["batches"], classes=recipe.classes_per_batch, images=recipe.images_per_class):
        images = affine(read(rows[chosen]), draws["augmentation"], how)
        yield images, known[chosen.to(device)]


def _distortion(recipe: Recipe) -> Distortion:
    crop = Crop(recipe.crop, recipe.crop_area, recipe.crop_ratio) if recipe.crop else None
    asked = {name: getattr(recipe, name) for name in Distortion._fields if name != "crop"}
    return Distortion(**asked, crop=crop)


def example(part: Images, *, count: int = 512, crop: int | None = None) -> Tensor:
    """Some images from all over the part, as at test time, float [at most count, C, H, W] in [0, 1]."""
    spread = part.images[:: max(1, len(part.images) // count)][:count]
    return centre(_channels_first(np.array(spread)), crop).float().div_(255)


def reader(images: NDArray[np.uint8], device: torch.device) -> Reader:
    """What reads images [N, H, W, C]; up to a gigabyte of them are copied to the device once."""
    if images.nbytes > IN_MEMORY:
        return lambda chosen: _channels_first(images[chosen.numpy()]).to(device)
    whole = _channels_first(np.array(images)).to(device)
    return lambda chosen: whole[chosen.to(device)]


def _channels_first(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)
