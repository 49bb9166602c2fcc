"""Omniglot, from the official archives or the folders they unpack to."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, NamedTuple
from zipfile import BadZipFile, ZipFile

import numpy as np
from annotated_types import Ge, Le

from bench.datasets.acquire.sources import SOURCES
from bench.datasets.files.cache import cached
from bench.datasets.files.decode import DECODERS, read_pictures
from bench.datasets.files.picture_files import fingerprint, picture_files
from bench.datasets.files.stable_choice import choose
from bench.datasets.split import DataError, Images, Split

__all__ = ["omniglot"]

ARCHIVES = {"train": "images_background", "test": "images_evaluation"}
CHARACTERS = {"train": 964, "test": 659}
DRAWINGS = 20
DRAWING = re.compile(r"(?P<character>[^/]+/character\d+)/\d+_\d+\.png$")
SOURCE = SOURCES["omniglot"].where

Drawings = dict[str, list[str]]


def omniglot(
    data: Path | None,
    *,
    size: Annotated[int, Ge(8), Le(105)] = 28,
    classes: Annotated[int, Ge(2), Le(964)] | None = None,
    seed: Annotated[int, Ge(0)] = 0,
) -> Split:
    """Omniglot: handwritten characters of 50 alphabets (Lake et al., Science 2015; MIT licence).

    The published split: 964 characters of the 30 background alphabets to train, 659 of the 20 evaluation alphabets to
    test, 20 drawings each, [size, size, 1], resized with antialiasing, ink 255 on ground 0, as few-shot work has it.
    Read from images_background.zip and images_evaluation.zip, or the folders they unpack to.

    Args:
        data: the folder that holds the folder omniglot; the archives may also lie in its sub-folder python.
        size: side of a picture in pixels; the drawings are 105.
        classes: limits both sides to that many characters; None: all.
        seed: chooses them.

    Raises:
        DataError: the drawings are missing, cannot be read or are incomplete.
    """
    places = {side: _find(data, name) for side, name in ARCHIVES.items()}
    content = {side: fingerprint(place.parent, _on_disk(place)) for side, place in places.items()}

    def build() -> Split:
        found = {side: _listed(side, place) for side, place in places.items()}
        _refuse_shared(places["test"].parent, *(side.characters for side in found.values()))
        train, test = (_part(places[side], listed, size, classes, seed) for side, listed in found.items())
        return Split(train, test)

    identity = {"dataset": "omniglot", "content": content, "decoders": DECODERS}
    return cached({**identity, "size": size, "classes": classes, "seed": seed}, build)


def _find(data: Path | None, name: str) -> Path:
    if data is None:
        raise DataError("omniglot needs the folder of the data sets: pass --data DIR or set BENCH_DATA.")
    for folder in SOURCES["omniglot"].places:
        for place in (data / folder / f"{name}.zip", data / folder / name):
            if place.exists():
                return place
    raise DataError(f"omniglot has no {name}.zip in {data / 'omniglot'}: get it from {SOURCE} and put it there.")


def _on_disk(place: Path) -> list[Path]:
    return picture_files(place) if place.is_dir() else [place]


class Side(NamedTuple):
    """What an archive or a folder holds."""

    characters: Drawings
    """ALPHABET/characterNN -> names of its drawings."""
    load: Callable[[list[str]], list[bytes]]


def _listed(side: str, place: Path) -> Side:
    names, load = _listing(place)
    characters: dict[str, list[str]] = {}
    for name in sorted(names):
        if found := DRAWING.search(name):
            characters.setdefault(found["character"], []).append(name)
    _verify(side, place, characters)
    return Side(characters, load)


def _refuse_shared(folder: Path, train: Drawings, test: Drawings) -> None:
    shared = sorted(train.keys() & test.keys())
    if shared:
        raise DataError(
            f"The archives in {folder} have {len(shared):,} character(s) on both the train and the test side, such as "
            f"{shared[0]}: get them again from {SOURCE}."
        )


def _part(place: Path, side: Side, size: int, classes: int | None, seed: int) -> Images:
    chosen = choose(list(side.characters), len(side.characters) if classes is None else classes, seed)
    drawings = side.load([name for character in chosen for name in side.characters[character]])
    pictures = read_pictures(drawings, size, 1)
    if pictures.problems:
        raise DataError(f"{place} holds a drawing that cannot be read: get it again from {SOURCE}.")
    labels = np.repeat(np.arange(len(chosen), dtype=np.int64), DRAWINGS)
    return Images(255 - pictures.images, labels, tuple(chosen))


def _listing(place: Path) -> tuple[Iterable[str], Callable[[list[str]], list[bytes]]]:
    """Names of all files, and how to load some of them; nothing of an archive is unpacked to disk."""
    if place.is_dir():
        found = [file.as_posix() for file in picture_files(place)]
        return found, lambda names: [Path(name).read_bytes() for name in names]
    try:
        with ZipFile(place) as archive:
            return archive.namelist(), lambda names: _load(place, names)
    except (BadZipFile, OSError) as error:
        raise DataError(f"{place} is not a whole zip archive ({error}): get it again from {SOURCE}.") from error


def _load(place: Path, names: list[str]) -> list[bytes]:
    try:
        with ZipFile(place) as archive:
            return [archive.read(name) for name in names]
    except (BadZipFile, OSError) as error:
        raise DataError(f"{place} is damaged ({error}): get it again from {SOURCE}.") from error


def _verify(side: str, place: Path, characters: dict[str, list[str]]) -> None:
    drawings, expected = sum(map(len, characters.values())), CHARACTERS[side]
    uneven = [character for character, names in characters.items() if len(names) != DRAWINGS]
    if len(characters) != expected or uneven:
        raise DataError(
            f"{place} has {len(characters):,} characters and {drawings:,} drawings, not {expected:,} with {DRAWINGS} "
            f"each: get it again from {SOURCE}."
        )
