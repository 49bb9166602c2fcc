"""What every dataset returns: images (or vectors) and labels of both sides of a class-disjoint split."""

import platform
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.matrix.printable import without_control

__all__ = [
    "LEFT_OUT",
    "WARNINGS",
    "DataError",
    "Images",
    "OtherDataError",
    "Split",
    "are_vectors",
    "left_out",
    "legible",
    "reason",
    "remarks",
    "see_same",
    "without_control",
]

LEFT_OUT = ("classes left out", "pictures left out", "files left out")
WARNINGS = ("copies", "two labels", "encoding", "folders", "sides", "columns", "zeros", "constant")
"""Keys of the notes that a user should see; the others are provenance."""


class DataError(ValueError):
    """One sentence: what is wrong with the data, and what to do. It can be printed, whatever the names in it are."""

    def __init__(self, sentence: str) -> None:
        super().__init__(without_control(legible(sentence)))


class OtherDataError(DataError):
    """The data is not what a command has seen when it began."""


def legible(text: str) -> str:
    """Text as it can be printed and stored: bytes of file names that are not UTF-8 as \\xNN."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def reason(error: Exception) -> str:
    """What an error says, in a few words, for the brackets of a sentence."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class Images(NamedTuple):
    """Labelled images of one part of a split, or embeddings of them that are stored already."""

    images: NDArray[Any]
    """Pictures, uint8 [N, height, width, channels], or vectors, float32 [N, width], finite; all parts of a split alike.

    A read-only memory map when it comes from the cache and is large.
    """
    labels: NDArray[np.int64]
    """[N], 0 .. len(classes) - 1; every class has at least one image."""
    classes: tuple[str, ...]
    """Class names."""
    texts: tuple[str, ...] | None = None
    """One text per class, where the dataset has it."""


class Split(NamedTuple):
    """Training classes and test classes, which share no class."""

    train: Images
    test: Images
    """The queries; without a gallery they are each other's gallery, the query itself left out."""
    gallery: Images | None = None
    """Candidates of the queries, numbered by the test side's labels."""
    sha: str = ""
    """SHA-256 over all images or vectors, labels and class names."""
    notes: Mapping[str, str] = MappingProxyType({})
    """What was left out or is doubtful, and provenance such as the version of the fonts."""


def see_same(label: str, split: Split, sha: str) -> None:
    """See that a split has this hash, under which a command knows the dataset, on whatever machine it is.

    Raises:
        OtherDataError: it has another one.
    """
    if split.sha != sha:
        raise OtherDataError(
            f"{label}: the data on {platform.node()} is not what this command began with (SHA-256 {split.sha[:12]}…, "
            f"not {sha[:12]}…): make it the same there, or name another folder with --data"
        )


def are_vectors(split: Split) -> bool:
    """Whether the images are not pictures, but vectors [N, width]."""
    return split.train.images.ndim == 2


def left_out(split: Split) -> str | None:
    """What the data has and the split does not, counted and named, in one line; None where nothing is left out."""
    return _said(split, LEFT_OUT) or None


def remarks(split: Split) -> tuple[str, ...]:
    """All that a user should see before the scores of this split: what was left out, and what is doubtful."""
    return tuple(said for key in (*LEFT_OUT, *WARNINGS) if (said := _said(split, (key,))))


def _said(split: Split, keys: tuple[str, ...]) -> str:
    return "; ".join(f"{key}: {split.notes[key]}" for key in keys if key in split.notes)
