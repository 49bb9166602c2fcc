"""Anybody's pictures: a folder with one sub-folder per class."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

from annotated_types import Ge, Gt, Lt

from bench.datasets.files.columns import one_per_label, read_columns
from bench.datasets.files.copied import Placed
from bench.datasets.files.own_pictures import Collection, Reading, own_split
from bench.datasets.files.picture_files import Walk
from bench.datasets.files.side_folders import sides
from bench.datasets.files.stable_choice import choose
from bench.datasets.files.text_file import read_text
from bench.datasets.files.there import is_folder
from bench.datasets.files.wording import printable, some
from bench.datasets.split import DataError, Split, reason

__all__ = ["folder"]

TEXTS = "texts.csv"

Classes = dict[str, list[Path]]
"""Class -> its picture files."""


class Listing(NamedTuple):
    """What lies in a folder with one sub-folder per class."""

    classes: Classes
    others: list[Path]
    """Files that are not pictures, pictures in no class, and folders without a picture."""


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
    """Folder: your own pictures, one sub-folder per class.

    Without sub-folders train/ and test/, a share of the classes is the test side; with them (or train/, query/ and
    gallery/) each holds its classes, and none may be on both sides. The pictures of a class are all those below its
    folder: the middle square, transparency on white. The file texts.csv (columns class,text) gives each class a text.
    What is not read is counted in the notes of the split.

    Args:
        data: the data folder.
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
    listed, notes = _parts(root, test_share, min_images, seed)
    pictures = [
        Placed(file.relative_to(root).as_posix(), name, part)
        for part, classes in listed.items()
        for name, files in classes.items()
        for file in files
    ]
    order = sorted({one.label for one in pictures})
    texts, doubt = _texts(root / TEXTS)
    notes = {"folder": printable(root.name), **notes, **doubt}
    found = Collection("folder", root, root, pictures, order, {name: name for name in order}, texts, notes)
    choice = {"test_share": test_share, "seed": seed}
    return own_split(found, Reading(size, gray, min_images, skip_broken), choice=choice)


def _root(data: Path | None, path: str) -> Path:
    own = os.path.expanduser(path)
    if data is None and not os.path.isabs(own):
        raise DataError(f"folder needs an absolute path, or --data DIR (or BENCH_DATA) that holds {path!r}.")
    root = (data or Path()) / own
    if not is_folder(root):
        raise DataError(f"{root} is not a folder: set path to the folder that holds one sub-folder per class.")
    return root


def _parts(root: Path, test_share: float, min_images: int, seed: int) -> tuple[dict[str, Classes], dict[str, str]]:
    """Part of the split -> class -> its files, and notes on what is not read."""
    walk = Walk(root)
    found = sides(root, _folders(root))
    if not found:
        whole = _listing(root, walk)
        large = [name for name, files in whole.classes.items() if len(files) >= min_images]
        test = set(choose(large, round(test_share * len(large)), seed))
        listed: dict[str, Classes] = {"train": {}, "test": {}}
        for name, files in whole.classes.items():
            listed["test" if name in test else "train"][name] = files
        return listed, _files_left_out(root, whole.others)
    listings = {part: _listing(place, walk) for part, place in found.items()}
    _refuse_beside(root, list(found.values()), walk)
    others = [*(file for one in listings.values() for file in one.others), *_loose(root)]
    named = {part: place.name for part, place in found.items()}
    said = ", ".join(f"{part} from {name}" for part, name in named.items() if name not in ("query", part))
    notes = {**({"folders": said} if said else {}), **_files_left_out(root, others)}
    return {part: one.classes for part, one in listings.items()}, notes


def _refuse_beside(root: Path, found: Sequence[Path], walk: Walk) -> None:
    more = [place.name for place in _folders(root) if place not in found and walk.below(place).pictures]
    if more:
        raise DataError(
            f"{root} has pictures in {some(more)}, beside {some([place.name for place in found])}: move them into one "
            "of these, or elsewhere (recipe.validation holds out classes of train by itself)."
        )


def _listing(place: Path, walk: Walk) -> Listing:
    classes: Classes = {}
    others = _loose(place)
    for one in _folders(place):
        found = walk.below(one)
        others += found.others if found.pictures else [*found.others, one]
        if found.pictures:
            classes.setdefault(printable(one.name), []).extend(found.pictures)
    if not classes:
        raise DataError(f"{place} has no sub-folder with pictures: put those of each class into a folder of its own.")
    return Listing(classes, others)


def _folders(place: Path) -> list[Path]:
    try:
        return sorted(one for one in place.iterdir() if one.is_dir() and not one.name.startswith("."))
    except OSError as error:
        raise DataError(f"{place} cannot be opened ({reason(error)}): allow it, or name another folder.") from error


def _loose(place: Path) -> list[Path]:
    """Files beside the sub-folders."""
    names = (one for one in place.iterdir() if not one.is_dir() and not one.name.startswith("."))
    return sorted(one for one in names if one.name != TEXTS)


def _files_left_out(root: Path, others: Sequence[Path]) -> dict[str, str]:
    if not others:
        return {}
    kinds = Counter(_kind(one) for one in others)
    counted = ", ".join(f"{kind}: {count:,}" for kind, count in kinds.most_common(5))
    names = some([one.relative_to(root).as_posix() for one in others])
    return {"files left out": f"{len(others):,} that are not pictures of a class ({counted}): {names}"}


def _kind(other: Path) -> str:
    return "folder without pictures" if other.is_dir() else printable(other.suffix.lower()) or "no ending"


def _texts(file: Path) -> tuple[dict[str, str] | None, dict[str, str]]:
    """Class -> text, where there is a table, and a note where its encoding is doubtful."""
    if not file.exists():
        return None, {}
    columns = read_columns(file, ("class",), ("text",))
    if "text" not in columns:
        raise DataError(f"{file} needs the columns class, text, but has no 'text': name them in its first line.")
    classes = [printable(name) for name in columns["class"]]
    doubt = read_text(file).doubt
    return one_per_label(file, classes, columns["text"], column="text"), {"encoding": doubt} if doubt else {}
