"""CUB-200-2011, from the folder that its official archive unpacks to."""

from pathlib import Path, PurePosixPath
from typing import Annotated

from annotated_types import Ge

from bench.datasets.acquire.sources import SOURCES
from bench.datasets.files.published_lists import Listed, Photo, by_class_id, find_folder, read_list
from bench.datasets.files.published_photos import split_of
from bench.datasets.split import DataError, Split

__all__ = ["cub200"]

SOURCE = SOURCES["cub200"].where
PLACES = SOURCES["cub200"].places
COUNTS = {"train": (100, 5864), "test": (100, 5924)}
"""Classes and photos of each side."""


def cub200(data: Path | None, *, size: Annotated[int, Ge(8)] = 256) -> Split:
    """CUB-200-2011: birds of 200 species (Wah et al., CNS-TR-2011-001, 2011; non-commercial research only).

    The field's split: classes 1 to 100 train, 5,864 photos, classes 101 to 200 test, 5,924. Colour, [size, size, 3],
    the middle square of the whole photo; bounding boxes are not used.

    Args:
        data: the folder that holds CUB_200_2011, or a folder cub200 with it.
        size: side of a picture in pixels.

    Raises:
        DataError: something of the set is missing, cannot be read, or is not as published.
    """
    root = find_folder("cub200", data, places=PLACES, source=SOURCE)
    names = dict(read_list(root / "classes.txt", _named, source=SOURCE))
    parts = by_class_id(_photos(root), last=COUNTS["train"][0])
    return split_of(Listed("cub200", SOURCE, root, parts, names), counts=COUNTS, size=size)


def _photos(root: Path) -> list[Photo]:
    paths = dict(read_list(root / "images.txt", _named, source=SOURCE))
    classes = dict(read_list(root / "image_class_labels.txt", _labelled, source=SOURCE))
    if paths.keys() != classes.keys():
        raise DataError(
            f"images.txt and image_class_labels.txt in {root} number different photos: get both again from {SOURCE}."
        )
    return [Photo((PurePosixPath("images") / path).as_posix(), classes[number]) for number, path in paths.items()]


def _named(columns: list[str]) -> tuple[int, str]:
    number, name = columns
    return int(number), name


def _labelled(columns: list[str]) -> tuple[int, int]:
    photo, label = map(int, columns)
    return photo, label
