"""Images on their way to the model: drawn, moved to the device, augmented a whole batch at a time."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.augment import affine
from bench.config import Recipe
from bench.datasets.split import Images
from bench.sampler import balanced
from bench.seeds import generator

__all__ = ["Batches", "epochs", "example", "reader"]

Batches = Iterator[tuple[Tensor, Tensor]]

IN_MEMORY = 2**30
"""Bytes of images that are kept whole on the training device; more are read batch by batch."""


def epochs(part: Images, recipe: Recipe, *, seed: int, device: torch.device) -> Iterator[Batches]:
    """For every epoch its batches: augmented images float [P·K, C, H, W] and labels [P·K], on the device."""
    draws, distortions = generator(seed, "batches"), generator(seed, "augmentation")
    read, labels = reader(part.images, device), torch.from_numpy(part.labels.copy()).to(device)
    for _ in range(recipe.epochs):
        yield _epoch(part, recipe, read, labels, draws, distortions)


def _epoch(
    part: Images,
    recipe: Recipe,
    read: Callable[[Tensor], Tensor],
    labels: Tensor,
    draws: torch.Generator,
    distortions: torch.Generator,
) -> Batches:
    for chosen in balanced(part.labels, draws, classes=recipe.classes_per_batch, images=recipe.images_per_class):
        images = affine(
            read(chosen),
            distortions,
            rotation=recipe.rotation,
            zoom=recipe.zoom,
            shift=recipe.shift,
            flip=recipe.flip,
        )
        yield images, labels[chosen.to(labels.device)]


def example(part: Images, *, count: int = 512) -> Tensor:
    """Some images from all over the part, float [at most count, C, H, W] in [0, 1]."""
    spread = part.images[:: max(1, len(part.images) // count)][:count]
    return _channels_first(np.array(spread)).float().div_(255)


def reader(images: NDArray[np.uint8], device: torch.device) -> Callable[[Tensor], Tensor]:
    """A function from indices [B] to uint8 images [B, C, H, W] on the device."""
    if images.nbytes > IN_MEMORY:
        return lambda chosen: _channels_first(images[chosen.numpy()]).to(device)
    whole = _channels_first(np.array(images)).to(device)
    return lambda chosen: whole[chosen.to(device)]


def _channels_first(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)
