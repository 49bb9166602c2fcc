"""Anybody's pictures: a folder with one sub-folder a class."""

import csv
import hashlib
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, Lt
from numpy.typing import NDArray

from bench.datasets.reading.cache import cached
from bench.datasets.reading.decode import DECODERS, fingerprint, picture_files, read_pictures
from bench.datasets.reading.small_classes import kept, left_out, numbered, some
from bench.datasets.reading.stable_choice import choose
from bench.datasets.split import DataError, Images, Split

__all__ = ["folder"]

TEXTS = "texts.csv"

Classes = dict[str, list[Path]]


class Reading(NamedTuple):
    """How the pictures of a folder are read."""

    root: Path
    size: int
    channels: int
    min_images: int
    skip_broken: bool


class Part(NamedTuple):
    """What was read of one part: pictures, the class of each, and the files that could not be read."""

    images: NDArray[np.uint8]
    labels: list[str]
    broken: list[str]


def folder(
    data: Path | None,
    *,
    path: str,
    size: Annotated[int, Ge(8)] = 64,
    test_share: Annotated[float, Gt(0), Lt(1)] = 0.5,
    gray: bool = False,
    min_images: Annotated[int, Ge(1)] = 2,
    skip_broken: bool = False,
    seed: Annotated[int, Ge(0)] = 0,
) -> Split:
    """Folder: your own pictures, one sub-folder a class.

    Without sub-folders train/ and test/, a share of the classes is the test side; with them (or train/, query/ and
    gallery/) each holds its classes, and none may be on both sides. The pictures of a class are all those below its
    folder: the middle square, transparency on white. The file texts.csv (columns class,text) gives each class a text.

    Args:
        data: the folder that holds one folder a dataset.
        path: the folder of the classes, absolute or inside `data`.
        size: side of the pictures, [size, size, 3], in pixels.
        test_share: of the classes, chosen by `seed`.
        gray: luminance instead of colour, [size, size, 1].
        min_images: a class with fewer is left out; on query and gallery one without a picture on both sides is.
        skip_broken: leave out pictures that cannot be read.
        seed: chooses the classes of the test side.

    Raises:
        DataError: no such folder, a picture that cannot be read, a class on both sides, or fewer than two on one.
    """
    root = _root(data, path)
    listed = _listed(root, test_share, min_images, seed)
    found = sorted(file for classes in listed.values() for paths in classes.values() for file in paths)
    texts = root / TEXTS
    content = [fingerprint(root, found), hashlib.sha256(texts.read_bytes()).hexdigest() if texts.exists() else None]
    reading = Reading(root, size, 1 if gray else 3, min_images, skip_broken)
    identity = {"dataset": "folder", "content": content, "decoders": DECODERS, "size": size, "gray": gray}
    choice = {"test_share": test_share, "min_images": min_images, "skip_broken": skip_broken, "seed": seed}
    return cached({**identity, **choice}, lambda: _split(reading, listed))


def _root(data: Path | None, path: str) -> Path:
    if data is None and not Path(path).is_absolute():
        raise DataError(f"folder needs an absolute path, or --data DIR (or BENCH_DATA) that holds {path!r}.")
    root = (data or Path()) / path
    if not root.is_dir():
        raise DataError(f"{root} is not a folder: set path to the folder that holds one sub-folder a class.")
    return root


def _listed(root: Path, test_share: float, min_images: int, seed: int) -> dict[str, Classes]:
    """Part of the split -> class -> its files."""
    inside = {place.name for place in root.iterdir() if place.is_dir()}
    for sides in (("train", "query", "gallery"), ("train", "test")):
        if inside.issuperset(sides):
            listed = {"test" if side == "query" else side: _classes(root / side) for side in sides}
            _disjoint(listed["train"], [*listed["test"], *listed.get("gallery", ())])
            return listed
    classes = _classes(root)
    large = [name for name, paths in classes.items() if len(paths) >= min_images]
    test = set(choose(large, round(test_share * len(large)), seed))
    return {
        "train": {name: paths for name, paths in classes.items() if name not in test},
        "test": {name: paths for name, paths in classes.items() if name in test},
    }


def _classes(folder: Path) -> Classes:
    places = sorted(place for place in folder.iterdir() if place.is_dir() and not place.name.startswith("."))
    return {place.name: paths for place in places if (paths := picture_files(place))}


def _disjoint(train: Iterable[str], test: Iterable[str]) -> None:
    both = sorted(set(train) & set(test))
    if both:
        raise DataError(f"{some(both)}: in both train and test, where no class may be, so keep each on one side.")


def _split(reading: Reading, listed: Mapping[str, Classes]) -> Split:
    order = sorted({name for classes in listed.values() for name in classes})
    enough = partial(kept, reading.root, order=order, least=reading.min_images)
    enough({part: _labels(classes) for part, classes in listed.items()})  # before hours of decoding
    texts = _texts(reading.root / TEXTS)
    read = {part: _read(reading, classes) for part, classes in listed.items()}
    names = enough({part: found.labels for part, found in read.items()})
    images = {part: _images(found, names[part], texts) for part, found in read.items()}
    broken = [path for part in read.values() for path in part.broken]
    notes = {"folder": reading.root.name, **left_out(order, names, broken=broken, why="cannot be read")}
    return Split(images["train"], images["test"], images.get("gallery"), notes=notes)


def _labels(classes: Classes) -> list[str]:
    """The class of each file."""
    return [name for name, paths in classes.items() for _ in paths]


def _read(reading: Reading, classes: Classes) -> Part:
    paths = [path for found in classes.values() for path in found]
    pictures = read_pictures(paths, reading.size, reading.channels, skip_broken=reading.skip_broken)
    broken = [path.relative_to(reading.root).as_posix() for path in compress(paths, ~pictures.readable)]
    return Part(pictures.images, list(compress(_labels(classes), pictures.readable)), broken)


def _images(part: Part, names: list[str], texts: Mapping[str, str] | None) -> Images:
    return Images(*numbered(part.images, part.labels, classes=names), tuple(names), _texts_of(names, texts))


def _texts(file: Path) -> dict[str, str] | None:
    if not file.exists():
        return None
    try:
        rows = csv.DictReader(file.read_text(encoding="utf-8-sig").splitlines())
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8: save it in that encoding.") from error
    if not {"class", "text"} <= set(rows.fieldnames or ()):
        raise DataError(f"{file} lacks the columns class,text: name them in its first line.")
    return {row["class"]: row["text"] or "" for row in rows}


def _texts_of(names: list[str], texts: Mapping[str, str] | None) -> tuple[str, ...] | None:
    if texts is None:
        return None
    missing = [name for name in names if not texts.get(name)]
    if missing:
        raise DataError(f"{TEXTS} has no text for {len(missing)} class(es), such as {missing[0]!r}: add them.")
    return tuple(texts[name] for name in names)
