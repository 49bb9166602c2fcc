"""The lists of a published set: which photo is of which class and part, read and checked."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from bench.datasets.split import DataError, reason

__all__ = ["Listed", "Photo", "by_class_id", "check_lists", "find_folder", "paths", "read_list"]

OUTSIDE = re.compile(r"^([/\\]|[A-Za-z]:)|(^|[/\\])\.\.([/\\]|$)")
"""A path that begins at a root or a drive, or leaves its folder."""

Parsed = TypeVar("Parsed")


class Photo(NamedTuple):
    """A file, relative to the folder of its set, and the set's own number of its class."""

    path: str
    class_id: int


class Listed(NamedTuple):
    """What the lists of a set say."""

    dataset: str
    source: str
    """Where to get the set, for the sentences of errors."""
    root: Path
    """The folder of the set."""
    parts: Mapping[str, Sequence[Photo]]
    """Photos of "train", "test" and perhaps "gallery", whose classes are those of "test"."""
    names: Mapping[int, str]
    """Class id -> name."""


def find_folder(dataset: str, data: Path | None, *, places: Sequence[str], source: str) -> Path:
    """The first of the folders `places` that is in `data`.

    Raises:
        DataError: `data` is None or has none of them; it names the first as the place to put the set.
    """
    if data is None:
        raise DataError(f"{dataset} needs the folder of the data sets: pass --data DIR or set BENCH_DATA.")
    for place in places:
        if (data / place).is_dir():
            return data / place
    raise DataError(f"{dataset} has no folder {data / places[0]}: get the set from {source} and put it there.")


def read_list(
    file: Path, fit: Callable[[list[str]], Parsed], *, source: str, header: Sequence[str] = ()
) -> list[Parsed]:
    """What each line of a list says: `fit` gets its columns, parted by white space; empty lines are left out.

    Args:
        file: the list.
        fit: raises a ValueError where the columns are not those of the list.
        source: where to get the set.
        header: the lines that the list begins with.

    Raises:
        DataError: the list cannot be read, begins otherwise, or has a line that does not fit.
    """
    lines = _lines(file, source)
    first = [line.split() for line in lines[: len(header)]]
    if first != [line.split() for line in header]:
        raise DataError(f"{file} does not begin with the line(s) {' / '.join(header)}: get it again from {source}.")
    return [_fitted(file, line, fit, source) for line in lines[len(header) :]]


def by_class_id(photos: Iterable[Photo], *, last: int) -> dict[str, list[Photo]]:
    """The field's split of sets without one: classes up to the id `last` train, those above it test."""
    parts: dict[str, list[Photo]] = {"train": [], "test": []}
    for photo in photos:
        parts["train" if photo.class_id <= last else "test"].append(photo)
    return parts


def check_lists(listed: Listed, counts: Mapping[str, tuple[int, int]]) -> None:
    """Check that the lists are as published.

    Raises:
        DataError: a class without a name of its own or on both sides, other `counts` of classes and photos, a class on
            only one of query and gallery, a path that leaves the folder, or a photo named twice.
    """
    ids = {part: {photo.class_id for photo in photos} for part, photos in listed.parts.items()}
    gallery = ids.get("gallery", ids["test"])
    _verify_names(listed, ids["train"] | ids["test"] | gallery)
    _refuse(listed, ids["train"] & (ids["test"] | gallery), "on both the train and the test side")
    for part, photos in listed.parts.items():
        if (len(ids[part]), len(photos)) != counts[part]:
            classes, number = counts[part]
            raise DataError(
                f"The lists in {listed.root} have {len(ids[part]):,} classes with {len(photos):,} photos for {part}, "
                f"not {classes:,} with {number:,}: get them again from {listed.source}."
            )
    _refuse(listed, ids["test"] ^ gallery, "on only one of query and gallery")
    _verify_paths(listed)


def paths(listed: Listed) -> list[str]:
    """All photos of all parts."""
    return [photo.path for photos in listed.parts.values() for photo in photos]


def _lines(file: Path, source: str) -> list[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read ({reason(error)}): get it again from {source}.") from error


def _fitted(file: Path, line: str, fit: Callable[[list[str]], Parsed], source: str) -> Parsed:
    try:
        return fit(line.split())
    except ValueError as error:
        raise DataError(
            f"{file} has a line {line!r} that does not fit its columns: get it again from {source}."
        ) from error


def _verify_names(listed: Listed, ids: set[int]) -> None:
    names = [listed.names.get(one) for one in ids]
    if None in names or len(set(names)) < len(names):
        raise DataError(
            f"The lists in {listed.root} do not give each class a name of its own: get them again from {listed.source}."
        )


def _refuse(listed: Listed, ids: set[int], where: str) -> None:
    if ids:
        raise DataError(
            f"The lists in {listed.root} have {len(ids):,} class(es) {where}, such as {listed.names[min(ids)]}: "
            f"get them again from {listed.source}."
        )


def _verify_paths(listed: Listed) -> None:
    listed_paths = paths(listed)
    outside = next(filter(OUTSIDE.search, listed_paths), None)
    if outside:
        raise DataError(
            f"A list in {listed.root} names {outside!r}, which is outside its folder: get it again from "
            f"{listed.source}."
        )
    path, times = Counter(listed_paths).most_common(1)[0]
    if times > 1:
        raise DataError(
            f"The lists in {listed.root} name the photo {path} {times} times: get them again from {listed.source}."
        )
