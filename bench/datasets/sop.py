"""Stanford Online Products, from the folder that its official archive unpacks to."""

from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from bench.datasets.acquire.sources import SOURCES
from bench.datasets.files.published_lists import Listed, Photo, find_folder, read_list
from bench.datasets.files.published_photos import split_of
from bench.datasets.split import Split

__all__ = ["sop"]

SOURCE = SOURCES["sop"].where
PLACES = SOURCES["sop"].places
HEADER = ("image_id class_id super_class_id path",)
COUNTS = {"train": (11318, 59551), "test": (11316, 60502)}
"""Classes and photos of each side."""


def sop(data: Path | None, *, size: Annotated[int, Ge(8)] = 256) -> Split:
    """SOP: Stanford Online Products, photos of offers on eBay (Oh Song et al., CVPR 2016; no licence, research only).

    The published split, Ebay_train.txt and Ebay_test.txt: 11,318 products with 59,551 photos to train, 11,316 with
    60,502 to test. Colour, [size, size, 3], the middle square. The 120,053 pictures take 24 GB of the cache at the
    size 256, 1.5 GB at the size 64.

    Args:
        data: the folder that holds Stanford_Online_Products, or a folder sop with it.
        size: side of a picture in pixels.

    Raises:
        DataError: something of the set is missing, cannot be read, or is not as published.
    """
    root = find_folder("sop", data, places=PLACES, source=SOURCE)
    parts = {part: read_list(root / f"Ebay_{part}.txt", _photo, source=SOURCE, header=HEADER) for part in COUNTS}
    names = {photo.class_id: _name(photo) for photos in parts.values() for photo in photos}
    return split_of(Listed("sop", SOURCE, root, parts, names), counts=COUNTS, size=size)


def _photo(columns: list[str]) -> Photo:
    _, product, _, path = columns
    return Photo(path, int(product))


def _name(photo: Photo) -> str:
    """The kind of product and its number, such as "bicycle 1", of bicycle_final/111085122871_0.JPG."""
    return f"{photo.path.partition('/')[0].removesuffix('_final')} {photo.class_id}"
