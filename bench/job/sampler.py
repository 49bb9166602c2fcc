"""Which images make a batch: P classes × K images, drawn from a generator."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

__all__ = ["balanced", "steps"]


def balanced(
    labels: ArrayLike, generator: torch.Generator, *, classes: int, images: int, most: int | None = None
) -> Iterator[Tensor]:
    """One epoch: `steps` batches of indices, each int64 [classes · images].

    Classes come round in a random order, each as often as the others; the images of a class likewise, without
    replacement until all were seen. A class with fewer than `images` images repeats some within a batch.
    """
    order, starts, sizes = _by_class(np.asarray(labels))
    turns = _class_turns(len(sizes), steps(len(order), classes=classes, images=images, most=most), classes, generator)
    seen = torch.zeros(len(sizes), dtype=torch.int64)
    shuffled = _shuffle_within(order, sizes, generator)
    for chosen in turns:
        offsets = (seen[chosen, None] + torch.arange(images)) % sizes[chosen, None]
        seen[chosen] += images
        yield shuffled[(starts[chosen, None] + offsets).flatten()]


def steps(count: int, *, classes: int, images: int, most: int | None = None) -> int:
    """Batches of an epoch over `count` images: as many as the images, or the `most` of them, fill; at least one."""
    return max(1, min(count, most or count) // (classes * images))


def _by_class(labels: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Indices sorted by class, and where each class starts and how many images it has."""
    sizes = torch.from_numpy(np.bincount(labels))
    return torch.from_numpy(np.argsort(labels, kind="stable")), sizes.cumsum(0) - sizes, sizes


def _class_turns(count: int, batches: int, classes: int, generator: torch.Generator) -> Tensor:
    """[batches, classes]: random orders of all classes one after another, no class twice in a batch."""
    whole = count // classes
    rounds = [torch.randperm(count, generator=generator)[: whole * classes] for _ in range(-(-batches // whole))]
    return torch.cat(rounds).view(-1, classes)[:batches]


def _shuffle_within(order: Tensor, sizes: Tensor, generator: torch.Generator) -> Tensor:
    """The images of each class in a random order, classes staying where they are."""
    keys = torch.repeat_interleave(torch.arange(len(sizes)), sizes) + torch.rand(
        len(order), generator=generator, dtype=torch.float64
    )
    return order[keys.argsort()]
