"""Anybody's pictures: a table with one row per picture."""

import os
import unicodedata
from collections import Counter
from pathlib import Path, PureWindowsPath
from typing import Annotated

from annotated_types import Ge

from bench.datasets.files.columns import Columns, read_columns
from bench.datasets.files.copied import Placed
from bench.datasets.files.file_kinds import PARQUET
from bench.datasets.files.own_pictures import Collection, Reading, own_split
from bench.datasets.files.split_columns import class_names, class_texts, in_order, parts
from bench.datasets.files.text_file import read_text
from bench.datasets.files.there import own_file
from bench.datasets.files.wording import some
from bench.datasets.split import DataError, Split

__all__ = ["manifest"]


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
    file = own_file(data, path, dataset="manifest", what="the CSV or Parquet that lists the pictures")
    columns = read_columns(file, ("path", "label", "split"), ("role", "class_name", "text"))
    columns["label"] = [unicodedata.normalize("NFC", label) for label in columns["label"]]
    pictures = _pictures(file, columns)
    order = in_order(columns["label"])
    doubt = "" if file.suffix.lower() in PARQUET else read_text(file).doubt
    notes = {"manifest": file.name, **({"encoding": doubt} if doubt else {})}
    names, texts = class_names(file, columns), class_texts(file, columns)
    found = Collection("manifest", file, file.parent, pictures, order, names, texts, notes)
    return own_split(found, Reading(size, gray, min_images, skip_broken))


def _pictures(file: Path, columns: Columns) -> list[Placed]:
    paths = [_inside(file, path) for path in columns["path"]]
    twice = [path for path, times in Counter(paths).items() if times > 1]
    if twice:
        raise DataError(f"{file} lists {some(twice)} more than once: keep one row per picture.")
    return [Placed(*row) for row in zip(paths, columns["label"], parts(file, columns), strict=True)]


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
