"""What every dataset returns: images and labels of both sides of a class-disjoint split."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["DataError", "Images", "Split", "reason"]


class DataError(ValueError):
    """One sentence: what is wrong with the data, and what to do."""


def reason(error: Exception) -> str:
    """What an error says, in a few words, for the brackets of a sentence."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class Images(NamedTuple):
    """Labelled images of one part of a split."""

    images: NDArray[np.uint8]
    """[N, height, width, channels]; a read-only memory map when it comes from the cache."""
    labels: NDArray[np.int64]
    """[N], 0 .. len(classes) - 1; every class has at least one image."""
    classes: tuple[str, ...]
    """Class names."""
    texts: tuple[str, ...] | None = None
    """One text a class, where the dataset has it."""


class Split(NamedTuple):
    """Training classes and test classes, which share no class."""

    train: Images
    test: Images
    """The queries; without a gallery they are each other's gallery, the query itself left out."""
    gallery: Images | None = None
    """Candidates of the queries, numbered by the test side's labels."""
    sha: str = ""
    """SHA-256 over all images, labels and class names."""
    notes: Mapping[str, str] = MappingProxyType({})
    """Provenance worth a line beside the results, such as the version of the fonts."""
