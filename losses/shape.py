"""What a loss is told about the job: sizes, and text vectors where the dataset has texts."""

from typing import NamedTuple

from torch import Tensor

__all__ = ["Shape", "Unsuitable"]


class Unsuitable(ValueError):
    """A loss cannot run on this dataset; one sentence says why."""


class Shape(NamedTuple):
    """Sizes that a loss needs to build its own parameters."""

    dim: int
    """Width of the embedding."""
    classes: int
    """Number of training classes."""
    text: Tensor | None = None
    """One unit vector per class from its text, [classes, text_dim]; None where the dataset has no texts."""
    images_per_class: int | None = None
    """Images of a class in a training batch, K of P × K; None where that is not fixed."""
