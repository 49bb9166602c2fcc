"""Flowers102, from its official labels and photos."""

from pathlib import Path
from typing import Annotated

from annotated_types import Ge
from scipy.io import loadmat

from bench.datasets.acquire.sources import SOURCES
from bench.datasets.files.published_lists import Listed, Photo, by_class_id, find_folder
from bench.datasets.files.published_photos import split_of
from bench.datasets.split import DataError, Split, reason

__all__ = ["flowers102"]

SOURCE = SOURCES["flowers102"].where
PLACES = SOURCES["flowers102"].places
CLASSES, PHOTOS = 102, 8189
SIDE = CLASSES // 2


def flowers102(data: Path | None, *, size: Annotated[int, Ge(8)] = 224) -> Split:
    """Flowers102: flowers of 102 kinds (Nilsback, Zisserman, ICVGIP 2008; no licence stated, photos from the web).

    8,189 photos; classes 1 to 51 train, 52 to 102 test, the set's own lists, which share their classes, put together.
    Colour, [size, size, 3], the middle square. The set's files do not name the classes, so they are called by their
    numbers.

    Args:
        data: the folder that holds the folder flowers102 (or flowers-102), with imagelabels.mat and jpg.
        size: side of a picture in pixels.

    Raises:
        DataError: something of the set is missing, cannot be read, or is not as published.
    """
    root = find_folder("flowers102", data, places=PLACES, source=SOURCE)
    labels = _labels(root / "imagelabels.mat")
    photos = [Photo(f"jpg/image_{number:05d}.jpg", label) for number, label in enumerate(labels, start=1)]
    parts = by_class_id(photos, last=SIDE)
    names = {label: str(label) for label in set(labels)}
    counts = {part: (SIDE, len(listed)) for part, listed in parts.items()}
    return split_of(Listed("flowers102", SOURCE, root, parts, names), counts=counts, size=size)


def _labels(file: Path) -> list[int]:
    """The class of each photo, by the photo's number."""
    try:
        with file.open("rb") as opened:
            content = loadmat(opened, variable_names=["labels"])
        labels = [int(label) for label in content["labels"].ravel()]
    except Exception as error:  # a broken file can raise nearly anything in SciPy's reader
        raise DataError(
            f"{file} cannot be read as the labels of Flowers102 ({reason(error)}): get it again from {SOURCE}."
        ) from error
    if len(labels) != PHOTOS or set(labels) != set(range(1, CLASSES + 1)):
        raise DataError(
            f"{file} has {len(labels):,} labels, of {len(set(labels)):,} classes, not {PHOTOS:,} of the classes 1 to "
            f"{CLASSES}: get it again from {SOURCE}."
        )
    return labels
