"""Anybody's pictures: a table with one row a picture."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import compress
from math import inf
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from bench.datasets.reading.cache import cached
from bench.datasets.reading.columns import Columns, read_columns
from bench.datasets.reading.decode import DECODERS, fingerprint, read_pictures
from bench.datasets.reading.small_classes import kept, left_out, numbered, some
from bench.datasets.split import DataError, Images, Split

__all__ = ["manifest"]

SPLITS = ("train", "test")
ROLES = {"query": "test", "gallery": "gallery"}
"""Role of a test row -> its part of the split."""


class Row(NamedTuple):
    """A picture: its path as the manifest has it, its label, and the part of the split that it belongs to."""

    path: str
    label: str
    part: str


class Classes(NamedTuple):
    """Label -> name, and text where there is a column of them."""

    names: dict[str, str]
    texts: dict[str, str] | None


class Reading(NamedTuple):
    """The manifest, and how its pictures are read."""

    file: Path
    size: int
    channels: int
    min_images: int
    skip_broken: bool


class Part(NamedTuple):
    """What was read of one part: pictures, and the row of each."""

    images: NDArray[np.uint8]
    rows: list[Row]


def manifest(
    data: Path | None,
    *,
    path: str,
    size: Annotated[int, Ge(8)] = 64,
    gray: bool = False,
    min_images: Annotated[int, Ge(1)] = 2,
    skip_broken: bool = False,
) -> Split:
    """Manifest: your own pictures, from a CSV or Parquet with one row a picture.

    Columns: path, relative to the manifest's folder and inside it, or absolute; label, the class; split, train or
    test, and no label on both. Optional: role, query or gallery, which compares the test rows of the one with those of
    the other; text, one a class, the same on all its rows or on some of them; class_name likewise, which names the
    classes where no two share one. Other columns are ignored. A CSV is UTF-8, parted by commas, semicolons or tabs.

    Args:
        data: the folder that `path` is relative to.
        path: the manifest, absolute or inside `data`; it is Parquet where its name ends in .parquet or .pq.
        size: side of the pictures, [size, size, 3], in pixels: the middle square, transparency on white.
        gray: luminance instead of colour, [size, size, 1].
        min_images: a class with fewer is left out; with roles a test class without a picture of either role is.
        skip_broken: leave out pictures that are missing or cannot be read.

    Raises:
        DataError: the table does not fit the above, a picture is missing or cannot be read, a class is on both sides,
            or fewer than two are on one.
    """
    file = _find(data, path)
    columns = read_columns(file, ("path", "label", "split"), ("role", "class_name", "text"))
    rows = _rows(file, columns)
    classes = _classes(file, columns)
    content = [_fingerprint(file, rows, skip_broken), hashlib.sha256(repr((rows, classes)).encode()).hexdigest()]
    reading = Reading(file, size, 1 if gray else 3, min_images, skip_broken)
    identity = {"dataset": "manifest", "name": file.name, "content": content, "decoders": DECODERS}
    choice = {"size": size, "gray": gray, "min_images": min_images, "skip_broken": skip_broken}
    return cached({**identity, **choice}, lambda: _split(reading, rows, classes))


def _find(data: Path | None, path: str) -> Path:
    if data is None and not Path(path).is_absolute():
        raise DataError(f"manifest needs an absolute path, or --data DIR (or BENCH_DATA) that holds {path!r}.")
    file = Path(os.path.abspath((data or Path()) / path))
    if not file.is_file():
        raise DataError(f"{file} is not a file: set path to the CSV or Parquet that lists the pictures.")
    return file


def _rows(file: Path, columns: Columns) -> list[Row]:
    paths = [_inside(file, path) for path in columns["path"]]
    rows = [Row(*row) for row in zip(paths, columns["label"], _parts(file, columns), strict=True)]
    twice = [path for path, times in Counter(paths).items() if times > 1]
    if twice:
        raise DataError(f"{file} lists {some(twice)} more than once: keep one row a picture.")
    train = {row.label for row in rows if row.part == "train"}
    both = sorted(train.intersection(row.label for row in rows if row.part != "train"))
    if both:
        raise DataError(
            f"{file} has {some(both)} in both train and test, where no label may be: keep each on one side."
        )
    return rows


def _parts(file: Path, columns: Columns) -> list[str]:
    """The part of the split of each row: train, test or gallery."""
    split = columns["split"]
    _known(file, "split", split, SPLITS)
    roles = columns.get("role", [""] * len(split))
    tested = [role for role, side in zip(roles, split, strict=True) if side == "test"]
    if not any(tested):
        return split
    _known(file, "role", tested, tuple(ROLES))
    if len(set(tested)) < len(ROLES):
        raise DataError(f"{file} gives all test rows the role {tested[0]}: give some the other, or none a role.")
    return [ROLES[role] if side == "test" else side for role, side in zip(roles, split, strict=True)]


def _known(file: Path, column: str, values: Sequence[str], known: Sequence[str]) -> None:
    counts = Counter(value for value in values if value not in known)
    for value, times in counts.most_common(1):
        raise DataError(f"{file} has {times:,} row(s) with {column} {value!r}, not {' or '.join(known)}: change them.")


def _inside(file: Path, path: str) -> str:
    """A path without detours, relative where it is in the manifest's folder."""
    folder = os.path.join(file.parent, "")
    normal = os.path.normpath(os.path.join(folder, path))
    if normal.startswith(folder):
        return Path(normal.removeprefix(folder)).as_posix()
    if os.path.isabs(path):
        return normal
    raise DataError(f"{file} lists {path!r}, which is outside its folder: make such paths absolute.")


def _one_a_class(file: Path, columns: Columns, column: str) -> dict[str, str]:
    """Label -> what a column says of it; labels of which it says nothing are left out."""
    found: dict[str, str] = {}
    for label, value in zip(columns["label"], columns[column], strict=True):
        if value and found.setdefault(label, value) != value:
            raise DataError(
                f"{file} has more than one {column} for the label {label!r}, {found[label]!r} and {value!r}: give all "
                "its rows the same."
            )
    return found


def _classes(file: Path, columns: Columns) -> Classes:
    named = _one_a_class(file, columns, "class_name") if "class_name" in columns else {}
    names = {label: named.get(label, label) for label in columns["label"]}
    if len(set(names.values())) < len(names):
        names = {label: label for label in names}
    texts = _one_a_class(file, columns, "text") if "text" in columns else None
    silent = [label for label in names if texts is not None and label not in texts]
    if silent:
        raise DataError(f"{file} has no text for {len(silent):,} label(s), such as {silent[0]!r}: add them.")
    return Classes(names, texts)


def _fingerprint(file: Path, rows: Sequence[Row], skip_broken: bool) -> list[str]:
    present = [os.path.isfile(file.parent / row.path) for row in rows]
    if not (all(present) or skip_broken):
        absent = [row.path for row, there in zip(rows, present, strict=True) if not there]
        raise DataError(
            f"{file} lists {len(absent):,} picture(s) that are not there, such as {absent[0]}: correct the paths, or "
            "leave out all such pictures with skip_broken = true (--skip-broken)."
        )
    roots: dict[Path, list[Path]] = {}
    for place in (Path(row.path) for row in compress(rows, present)):
        roots.setdefault(Path(place.anchor) if place.is_absolute() else file.parent, []).append(place)
    return [fingerprint(root, [root / place for place in places]) for root, places in roots.items()]


def _split(reading: Reading, rows: Sequence[Row], classes: Classes) -> Split:
    parts = [*SPLITS, *(["gallery"] if any(row.part == "gallery" for row in rows) else [])]
    listed = {part: [row for row in rows if row.part == part] for part in parts}
    _kept(reading, listed)  # before hours of decoding
    read = {part: _read(reading, listed[part]) for part in parts}
    readable = {part: found.rows for part, found in read.items()}
    broken = sorted({row.path for row in rows} - {row.path for found in readable.values() for row in found})
    if broken and not reading.skip_broken:
        raise DataError(
            f"{reading.file} lists {len(broken):,} picture(s) that cannot be read, such as {broken[0]}: repair them, "
            "remove their rows, or leave out all such pictures with skip_broken = true (--skip-broken)."
        )
    labels = _kept(reading, readable)
    images = {part: _images(read[part], labels[part], classes) for part in parts}
    left = left_out((row.label for row in rows), labels, broken=broken, why="are missing or cannot be read")
    return Split(images["train"], images["test"], images.get("gallery"), notes={"manifest": reading.file.name, **left})


def _read(reading: Reading, rows: Sequence[Row]) -> Part:
    places = [reading.file.parent / row.path for row in rows]
    pictures = read_pictures(places, reading.size, reading.channels, skip_broken=True)  # all, to count those broken
    return Part(pictures.images, list(compress(rows, pictures.readable)))


def _kept(reading: Reading, parts: Mapping[str, Sequence[Row]]) -> dict[str, list[str]]:
    """Part -> labels with enough pictures, those that are numbers by their value."""
    labels = {part: [row.label for row in rows] for part, rows in parts.items()}
    order = sorted(set().union(*labels.values()), key=lambda label: (float(label) if label.isdecimal() else inf, label))
    return kept(reading.file, labels, order=order, least=reading.min_images)


def _images(part: Part, labels: Sequence[str], classes: Classes) -> Images:
    """The pictures of the kept labels, numbered in their order."""
    texts = None if classes.texts is None else tuple(classes.texts[label] for label in labels)
    names = tuple(classes.names[label] for label in labels)
    return Images(*numbered(part.images, (row.label for row in part.rows), classes=labels), names, texts)
