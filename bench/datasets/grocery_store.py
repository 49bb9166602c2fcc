"""Grocery Store, from the folders and lists of its official repository."""

import csv
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from annotated_types import Ge, Le

from bench.datasets.acquire.sources import SOURCES
from bench.datasets.files.cache import cached
from bench.datasets.files.decode import DECODERS
from bench.datasets.files.published_lists import Listed, Photo, check_lists, find_folder
from bench.datasets.files.published_photos import fingerprint_of, read_photos
from bench.datasets.split import DataError, Images, Split, reason

__all__ = ["grocery_store"]

SOURCE = SOURCES["grocery_store"].where
PLACES = SOURCES["grocery_store"].places
COLUMNS = [
    "Class Name (str)",
    "Class ID (int)",
    "Coarse Class Name (str)",
    "Coarse Class ID (int)",
    "Iconic Image Path (str)",
    "Product Description Path (str)",
]
CLASSES = 81
COUNTS = {"train": (35, 2478), "test": (46, 1341), "gallery": (46, 1602)}
"""Classes and photos of each part under the protocol "lists"."""


class Class(NamedTuple):
    """A fine class, as the table of classes and the file of its description have it."""

    name: str
    coarse: int
    text: str


def grocery_store(
    data: Path | None,
    *,
    size: Annotated[int, Ge(8), Le(348)] = 64,
    protocol: Literal["lists", "all"] = "lists",
) -> Split:
    """Grocery Store: fruit, vegetables and cartons in shops (Klasson, Zhang, Kjellström, WACV 2019; MIT licence).

    The set's own lists share their classes, so whole coarse classes are kept apart instead: those of even id to train,
    35 fine classes with 2,478 photos, those of odd id to test, 46 with 2,943. Colour, [size, size, 3], the middle
    square; the set's description of each class is its text.

    Photos of a class were taken in series, so a query's nearest neighbour among all photos is often almost the same
    picture, but hardly ever across the set's own lists: raw pixels (RGB, 32 × 32, cosine) reach a Recall@1 of 0.52
    under the protocol "all", of 0.18 under "lists".

    Args:
        data: the folder that holds the folder grocery_store, or a clone of the repository, GroceryStoreDataset.
        size: side of a picture in pixels; the short side of the photos is 348.
        protocol: what a test photo is compared with. "lists": the 1,341 of the set's test list are queries, the 1,602
            of its train and val lists their gallery; "all": each is a query against all others.

    Raises:
        DataError: something of the set is missing, cannot be read, or is not as published.
    """
    root = find_folder("grocery_store", data, places=PLACES, source=SOURCE)
    classes = _classes(root)
    listed = Listed(
        "grocery_store", SOURCE, root, _parts(root, classes), {fine: one.name for fine, one in classes.items()}
    )
    check_lists(listed, COUNTS)
    found = [*fingerprint_of(listed), hashlib.sha256(repr(classes).encode()).hexdigest()]
    if protocol == "all":
        listed = listed._replace(parts=_without_gallery(listed.parts))
    texts = {one.name: one.text for one in classes.values()}

    def build() -> Split:
        read = {part: _described(read_photos(listed, part, size), texts) for part in listed.parts}
        return Split(read["train"], read["test"], read.get("gallery"))

    identity = {"dataset": "grocery_store", "content": found, "decoders": DECODERS}
    return cached({**identity, "size": size, "protocol": protocol}, build)


def _without_gallery(parts: Mapping[str, Sequence[Photo]]) -> dict[str, list[Photo]]:
    return {"train": [*parts["train"]], "test": [*parts["test"], *parts["gallery"]]}


def _described(part: Images, texts: Mapping[str, str]) -> Images:
    return part._replace(texts=tuple(texts[name] for name in part.classes))


def _classes(root: Path) -> dict[int, Class]:
    """Id -> fine class."""
    file = root / "classes.csv"
    header, *rows = _rows(file) or [[]]
    if header != COLUMNS:
        raise DataError(f"{file} does not begin with the columns {', '.join(COLUMNS)}: get it again from {SOURCE}.")
    classes = dict(_class(file, row) for row in rows)
    if not len({one.name for one in classes.values()}) == len(rows) == CLASSES:
        raise DataError(
            f"{file} does not have {CLASSES} classes of different names and ids: get it again from {SOURCE}."
        )
    return classes


def _class(file: Path, row: list[str]) -> tuple[int, Class]:
    try:
        name, fine, _, coarse, _, description = row
        number, above = int(fine), int(coarse)
    except ValueError as error:
        line = ",".join(row)
        raise DataError(
            f"{file} has a line {line!r} that does not fit its columns: get it again from {SOURCE}."
        ) from error
    place = file.parent / _inside(file, description.removeprefix("/"))
    try:
        text = " ".join(place.read_text(encoding="utf-8-sig").split())
    except (OSError, UnicodeDecodeError):
        text = ""
    if not text:
        raise DataError(f"{place}, the description of {name}, is missing or empty: get it again from {SOURCE}.")
    return number, Class(name, above, text)


def _parts(root: Path, classes: dict[int, Class]) -> dict[str, list[Photo]]:
    """Photos of train, test and gallery under the protocol "lists"."""
    listed = {name: _listed(root / f"{name}.txt", classes) for name in ("train", "val", "test")}
    even, odd = ({name: _of_parity(photos, classes, rest) for name, photos in listed.items()} for rest in (0, 1))
    return {
        "train": even["train"] + even["val"] + even["test"],
        "test": odd["test"],
        "gallery": odd["train"] + odd["val"],
    }


def _of_parity(photos: list[Photo], classes: dict[int, Class], rest: int) -> list[Photo]:
    return [photo for photo in photos if classes[photo.class_id].coarse % 2 == rest]


def _listed(file: Path, classes: dict[int, Class]) -> list[Photo]:
    return [_photo(file, row, classes) for row in _rows(file)]


def _photo(file: Path, row: list[str], classes: dict[int, Class]) -> Photo:
    try:
        path, fine, coarse = row[0], *map(int, row[1:])
        known = classes[fine].coarse == coarse
    except (ValueError, KeyError):
        known = False
    if not known:
        raise DataError(
            f"{file} has a line {', '.join(row)!r} that is not a path, a class id and its coarse id as in classes.csv: "
            f"get it again from {SOURCE}."
        )
    return Photo(Path(path).as_posix(), fine)


def _rows(file: Path) -> list[list[str]]:
    """Lines of a table or list, split at commas; empty ones left out."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
        return [row for row in csv.reader(lines, skipinitialspace=True) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} cannot be read ({reason(error)}): get it again from {SOURCE}.") from error


def _inside(file: Path, path: str) -> str:
    """A path relative to the folder of the list that names it."""
    relative = Path(path)
    if relative.anchor or ".." in relative.parts:
        raise DataError(f"{file} names {path!r}, which is outside its folder: get it again from {SOURCE}.")
    return relative.as_posix()
