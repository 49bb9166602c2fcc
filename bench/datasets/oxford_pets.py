"""Oxford-IIIT Pet, from the folders that its official archives unpack to."""

from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from bench.datasets.acquire.sources import SOURCES
from bench.datasets.files.published_lists import Listed, Photo, by_class_id, find_folder, read_list
from bench.datasets.files.published_photos import split_of
from bench.datasets.split import DataError, Split

__all__ = ["oxford_pets"]

SOURCE = SOURCES["oxford_pets"].where
PLACES = SOURCES["oxford_pets"].places
SIDES = {"train": 19, "test": 18}
"""Classes of each side."""
CLASSES, PHOTOS = 37, 7349


def oxford_pets(data: Path | None, *, size: Annotated[int, Ge(8)] = 224) -> Split:
    """Oxford-IIIT Pet: cats and dogs of 37 breeds (Parkhi, Vedaldi, Zisserman, Jawahar, CVPR 2012; CC BY-SA 4.0).

    The 7,349 photos of annotations/list.txt; classes 1 to 19 train, 20 to 37 test, the set's own lists, which share
    their classes, put together. Colour, [size, size, 3], the middle square. A class is called as its photos are.

    Args:
        data: the folder that holds the folder oxford_pets (or oxford-iiit-pet), with annotations and images.
        size: side of a picture in pixels.

    Raises:
        DataError: something of the set is missing, cannot be read, or is not as published.
    """
    root = find_folder("oxford_pets", data, places=PLACES, source=SOURCE)
    photos = _photos(root / "annotations" / "list.txt")
    names = {photo.class_id: _breed(photo) for photo in photos}
    _verify(root, photos, names)
    parts = by_class_id(photos, last=SIDES["train"])
    counts = {part: (SIDES[part], len(listed)) for part, listed in parts.items()}
    return split_of(Listed("oxford_pets", SOURCE, root, parts, names), counts=counts, size=size)


def _photos(file: Path) -> list[Photo]:
    return [photo for photo in read_list(file, _photo, source=SOURCE) if photo]


def _photo(columns: list[str]) -> Photo | None:
    """A photo, or None for a comment."""
    if columns[0].startswith("#"):
        return None
    name, class_id, _, _ = columns  # then the species, and the breed's number within it
    return Photo(f"images/{name}.jpg", int(class_id))


def _breed(photo: Photo) -> str:
    """images/Abyssinian_100.jpg -> Abyssinian."""
    return photo.path.removeprefix("images/").rpartition("_")[0]


def _verify(root: Path, photos: list[Photo], names: dict[int, str]) -> None:
    if len(photos) != PHOTOS or set(names) != set(range(1, CLASSES + 1)):
        raise DataError(
            f"The list in {root} has {len(photos):,} photos of {len(names):,} classes, not {PHOTOS:,} of the classes 1 "
            f"to {CLASSES}: get it again from {SOURCE}."
        )
    strange = [photo for photo in photos if _breed(photo) != names[photo.class_id]]
    if strange:
        photo = strange[0]
        raise DataError(
            f"The list in {root} gives {photo.path} the class {photo.class_id}, which is {names[photo.class_id]}: get "
            f"it again from {SOURCE}."
        )
