"""Anybody's pictures: a table with one row per picture."""

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from math import inf
from pathlib import Path, PureWindowsPath
from typing import Annotated

from annotated_types import Ge

from bench.datasets.reading.columns import Columns, one_per_label, read_columns
from bench.datasets.reading.copied import Placed
from bench.datasets.reading.file_kinds import PARQUET
from bench.datasets.reading.own_pictures import Collection, Reading, own_split
from bench.datasets.reading.text_file import read_text
from bench.datasets.reading.there import is_file
from bench.datasets.reading.wording import some
from bench.datasets.split import DataError, Split

__all__ = ["manifest"]

SPLITS = ("train", "test")
ROLES = {"query": "test", "gallery": "gallery"}
"""Role of a test row -> its part of the split."""


def manifest(
    data: Path | None,
    *,
    path: str,
    size: Annotated[int, Ge(8)] = 64,
    gray: bool = False,
    min_images: Annotated[int, Ge(1)] = 2,
    skip_broken: bool = False,
) -> Split:
    """Manifest: your own pictures, from a CSV or Parquet with one row per picture.

    Columns: path, relative to the manifest's folder and inside it, or absolute; label, the class; split, train or
    test, and no label on both. Optional: role, query or gallery, which compares the test rows of the one with those of
    the other; text, one per class, the same on all its rows or on some of them; class_name likewise, which names the
    classes where no two share one. Other columns are ignored. A CSV is read as R, Excel and pandas write it: UTF-8 or
    UTF-16, parted by commas, semicolons or tabs; a file in neither is taken for Windows-1252, and the split says so.

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
    columns["label"] = [unicodedata.normalize("NFC", label) for label in columns["label"]]
    pictures = _pictures(file, columns)
    order = sorted(
        dict.fromkeys(columns["label"]), key=lambda label: (float(label) if label.isdecimal() else inf, label)
    )
    doubt = "" if file.suffix.lower() in PARQUET else read_text(file).doubt
    notes = {"manifest": file.name, **({"encoding": doubt} if doubt else {})}
    texts = _texts(file, columns)
    found = Collection("manifest", file, file.parent, pictures, order, _names(file, columns), texts, notes)
    return own_split(found, Reading(size, gray, min_images, skip_broken))


def _find(data: Path | None, path: str) -> Path:
    own = os.path.expanduser(path)
    if data is None and not os.path.isabs(own):
        raise DataError(f"manifest needs an absolute path, or --data DIR (or BENCH_DATA) that holds {path!r}.")
    file = Path(os.path.abspath((data or Path()) / own))
    if not is_file(file):
        raise DataError(f"{file} is not a file: set path to the CSV or Parquet that lists the pictures.")
    return file


def _pictures(file: Path, columns: Columns) -> list[Placed]:
    paths = [_inside(file, path) for path in columns["path"]]
    twice = [path for path, times in Counter(paths).items() if times > 1]
    if twice:
        raise DataError(f"{file} lists {some(twice)} more than once: keep one row per picture.")
    return [Placed(*row) for row in zip(paths, columns["label"], _parts(file, columns), strict=True)]


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
    if PureWindowsPath(path).drive and os.name != "nt":
        raise DataError(f"{file} lists {path!r}, a path of Windows: write paths relative to the manifest's folder.")
    folder = os.path.join(file.parent, "")
    normal = os.path.normpath(os.path.join(folder, _found(folder, os.path.expanduser(path))))
    if normal.startswith(folder):
        return Path(normal.removeprefix(folder)).as_posix()
    if os.path.isabs(os.path.expanduser(path)):
        return normal
    raise DataError(f"{file} lists {path!r}, which is outside its folder: make such paths absolute.")


def _found(folder: str, path: str) -> str:
    """The path as it is on this disk: programs write it with backslashes, or accents in another form of Unicode."""
    if os.path.isfile(os.path.join(folder, path)):
        return path
    forward = path.replace("\\", "/")
    forms = (forward, *(unicodedata.normalize(form, forward) for form in ("NFC", "NFD")))
    return next((form for form in forms if os.path.isfile(os.path.join(folder, form))), forward)


def _names(file: Path, columns: Columns) -> dict[str, str]:
    """Label -> name of the class; the label itself where names are absent or not each class's own."""
    labels = columns["label"]
    values = columns.get("class_name", [""] * len(labels))
    named = one_per_label(file, labels, values, column="class_name")
    names = {label: named.get(label, label) for label in labels}
    return names if len(set(names.values())) == len(names) else {label: label for label in labels}


def _texts(file: Path, columns: Columns) -> dict[str, str] | None:
    if "text" not in columns:
        return None
    texts = one_per_label(file, columns["label"], columns["text"], column="text")
    silent = [label for label in dict.fromkeys(columns["label"]) if label not in texts]
    if silent:
        raise DataError(f"{file} has no text for {len(silent):,} label(s), such as {silent[0]!r}: add them.")
    return texts
