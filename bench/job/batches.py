"""Images, or vectors, on their way to the model: drawn, moved to the device, augmented a whole batch at a time."""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.datasets.split import Images
from bench.job.augment import Crop, Distortion, affine, centre
from bench.job.gpu_memory import room
from bench.job.sampler import balanced
from bench.matrix.recipe import Recipe
from bench.matrix.seeds import derive
from losses.to_device import sent

__all__ = [
    "Batches",
    "Draw",
    "Reader",
    "augmented",
    "distortion",
    "epochs",
    "example",
    "forget_all_but",
    "generators",
    "reader",
    "seen",
    "viewed",
]

Batches = Iterator[tuple[Tensor, Tensor]]

Reader = Callable[[Tensor], Tensor]
"""From rows [B] to uint8 images [B, C, H, W], or float32 vectors [B, width], on the device."""

Draw = Callable[[Tensor, torch.Generator], Tensor]
"""From rows [B] to what a model is trained on, float32, augmented by the draws of a generator."""

IN_MEMORY = 2**30
"""Bytes of images that are kept whole in memory for a job on the processor; more are read batch by batch."""
OF_A_GPU = 0.5
"""Share of a GPU's memory that is left, up to which images are kept whole on it."""
EXAMPLES = (512, 16384)
"""How many images, and how many vectors, stand for all of a part."""


def generators(seed: int) -> dict[str, torch.Generator]:
    """What draws the batches and what draws their augmentation, from the seed of a model."""
    # On the CPU, whatever trains, so that every device sees the same draws.
    return {use: torch.Generator().manual_seed(derive(seed, use)) for use in ("batches", "augmentation")}


def epochs(
    draw: Draw,
    labels: NDArray[np.int64],
    recipe: Recipe,
    *,
    draws: Mapping[str, torch.Generator],
    over: tuple[int, int] = (0, 0),
    numbered: bool = False,
) -> Iterator[Batches]:
    """For every epoch its batches: augmented images float [P·K, C, H, W], or vectors, and labels [P·K], on one device.

    Args:
        draw: gives the images, on the device that trains.
        labels: [N] of the images that `draw` gives, numbers from 0; images with -1 are never drawn.
        recipe: how many epochs, and what a batch is.
        draws: the `generators`; the last batch of an epoch leaves them where the next epoch begins.
        over: epochs that are over, and batches of the next one, which draws its batches as at first, and augments only
            the rest.
        numbered: give the number of each image, [P·K], instead of its label.
    """
    rows = torch.from_numpy(np.flatnonzero(labels >= 0))
    own = labels[rows.numpy()]
    known = rows if numbered else torch.from_numpy(own)
    classes, images, most = recipe.classes_per_batch, recipe.images_per_class, recipe.images_per_epoch
    passed, begun = over
    for number in range(passed, recipe.epochs):
        chosen = balanced(own, draws["batches"], classes=classes, images=images, most=most)
        left = islice(chosen, begun if number == passed else 0, None)
        yield _drawn(draw, rows, known, left, draws["augmentation"])


def _drawn(
    draw: Draw, rows: Tensor, known: Tensor, batches: Iterator[Tensor], augmentation: torch.Generator
) -> Batches:
    """Images and labels of batches, each of which says which of the rows it takes."""
    for chosen in batches:
        images = draw(rows[chosen], augmentation)
        yield images, sent(known[chosen], images.device)


def augmented(read: Reader, recipe: Recipe) -> Draw:
    """Images as the recipe augments them; vectors as they are."""
    how = distortion(recipe)

    def draw(rows: Tensor, generator: torch.Generator) -> Tensor:
        images = read(rows)
        return images if images.ndim == 2 else affine(images, generator, how)

    return draw


def viewed(read: Reader, views: int, *, images: int) -> Draw:
    """One of the stored `views` of each of so many `images`, at random; `read` gives all first views, then the second,
    and so on."""

    def draw(rows: Tensor, generator: torch.Generator) -> Tensor:
        return read(rows + images * torch.randint(views, (len(rows),), generator=generator))

    return draw


def distortion(recipe: Recipe) -> Distortion:
    """What the recipe does to every training image."""
    crop = Crop(recipe.crop, recipe.crop_area, recipe.crop_ratio) if recipe.crop else None
    asked = {name: getattr(recipe, name) for name in Distortion._fields if name != "crop"}
    return Distortion(**asked, crop=crop)


def example(part: Images, *, count: int | None = None, crop: int | None = None) -> Tensor:
    """Some images or vectors from all over the part, at most `count`, as they are `seen` at test time."""
    count = count or EXAMPLES[part.images.ndim == 2]
    spread = part.images[:: max(1, len(part.images) // count)][:count]
    return seen(_channels_first(torch.from_numpy(np.array(spread))), crop)


def seen(images: Tensor, crop: int | None) -> Tensor:
    """What a model sees at test time: the middle of images, float [B, C, H, W] in [0, 1]; vectors as they are."""
    return images if images.ndim == 2 else centre(images, crop).float().div_(255)


_kept: dict[tuple[int, torch.device], Tensor] = {}
"""Images on a GPU, as long as the array that they were copied from, or until a job has others."""


def forget_all_but(arrays: Sequence[NDArray[Any]]) -> None:
    """Make room on GPUs for a job that reads these images: those of other datasets go."""
    wanted = {id(images) for images in arrays}
    for place in [place for place in _kept if place[0] not in wanted]:
        del _kept[place]


def reader(images: NDArray[Any], device: torch.device) -> Reader:
    """What reads images [N, H, W, C] or vectors [N, width], from a copy on the device unless they are too large."""
    whole = _whole(images, device)
    if whole is None:
        return lambda chosen: _channels_first(sent(torch.from_numpy(images[chosen.numpy()]), device))
    return lambda chosen: whole[sent(chosen, device)]


def _whole(images: NDArray[Any], device: torch.device) -> Tensor | None:
    """All images on the device; None where they are too large. On a GPU they stay for the jobs that follow."""
    if device.type != "cuda":
        return _channels_first(torch.from_numpy(np.array(images))) if images.nbytes <= IN_MEMORY else None
    place = id(images), device
    if place not in _kept and images.nbytes <= OF_A_GPU * room(device):
        _kept[place] = _channels_first(torch.from_numpy(np.array(images)).to(device))
        weakref.finalize(images, _kept.pop, place, None)
    return _kept.get(place)


def _channels_first(images: Tensor) -> Tensor:
    return images if images.ndim == 2 else images.permute(0, 3, 1, 2)
