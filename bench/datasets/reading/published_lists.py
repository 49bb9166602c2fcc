"""Photos below one folder, as the lists of a published set name them: checked, read and cached."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from bench.datasets.reading.cache import cached
from bench.datasets.reading.decode import DECODERS, fingerprint, read_all
from bench.datasets.split import DataError, Images, Split, reason

__all__ = ["Listed", "Photo", "by_class_id", "content", "find", "images", "read_list", "split_of", "verify"]

OUTSIDE = re.compile(r"^([/\\]|[A-Za-z]:)|(^|[/\\])\.\.([/\\]|$)")
"""A path that begins at a root or a drive, or leaves its folder."""

Line = TypeVar("Line")


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


def find(dataset: str, data: Path | None, *, places: Sequence[str], source: str) -> Path:
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


def read_list(file: Path, fit: Callable[[list[str]], Line], *, source: str, header: Sequence[str] = ()) -> list[Line]:
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


def split_of(listed: Listed, *, counts: Mapping[str, tuple[int, int]], size: int) -> Split:
    """The split that the lists describe, [size, size, 3] a photo, from the cache or from the photos.

    Args:
        listed: what the lists say.
        counts: classes and photos of each part, as published.
        size: side of a picture in pixels; it is the middle square of the photo, resized.

    Raises:
        DataError: the lists are not as published, or a photo is absent or cannot be read.
    """
    verify(listed, counts)
    identity = {"dataset": listed.dataset, "content": content(listed), "decoders": DECODERS, "size": size}

    def build() -> Split:
        read = {part: images(listed, part, size) for part in listed.parts}
        return Split(read["train"], read["test"], read.get("gallery"))

    return cached(identity, build)


def verify(listed: Listed, counts: Mapping[str, tuple[int, int]]) -> None:
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


def content(listed: Listed) -> list[str]:
    """For the identity of a cached split: another one when a photo, or what the lists say, has changed.

    Raises:
        DataError: photos are absent; it says how many and names the first.
    """
    paths, above = _paths(listed), os.path.join(listed.root, "")
    try:
        photos = fingerprint(listed.root, [above + path for path in paths])
    except (OSError, ValueError) as error:
        absent = [path for path in paths if not _is_there(listed.root / path)]
        raise DataError(
            f"{listed.root} lacks {len(absent):,} of its {len(paths):,} photos, such as {absent[0]}: "
            f"get them from {listed.source}."
        ) from error
    said = repr((dict(listed.names), {part: list(named) for part, named in listed.parts.items()}))
    return [photos, hashlib.sha256(said.encode()).hexdigest()]


def images(listed: Listed, part: str, size: int) -> Images:
    """The photos of a part, [N, size, size, 3], in the order of the list; classes in the order of their ids.

    Raises:
        DataError: some cannot be read; it says how many and names the first.
    """
    photos = listed.parts[part]
    pictures = read_all([listed.root / photo.path for photo in photos], size, 3, skip_broken=True)
    if not pictures.readable.all():
        count, broken = (~pictures.readable).sum(), photos[int(pictures.readable.argmin())].path
        raise DataError(
            f"{listed.root} has {count:,} photo(s) that cannot be read, such as {broken}: get them from "
            f"{listed.source}."
        )
    ids, labels = np.unique([photo.class_id for photo in photos], return_inverse=True)
    return Images(pictures.images, labels.astype(np.int64), tuple(listed.names[one] for one in ids.tolist()))


def _lines(file: Path, source: str) -> list[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read ({reason(error)}): get it again from {source}.") from error


def _fitted(file: Path, line: str, fit: Callable[[list[str]], Line], source: str) -> Line:
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
    paths = _paths(listed)
    outside = next(filter(OUTSIDE.search, paths), None)
    if outside:
        raise DataError(
            f"A list in {listed.root} names {outside!r}, which is outside its folder: get it again from "
            f"{listed.source}."
        )
    path, times = Counter(paths).most_common(1)[0]
    if times > 1:
        raise DataError(
            f"The lists in {listed.root} name the photo {path} {times} times: get them again from {listed.source}."
        )


def _paths(listed: Listed) -> list[str]:
    return [photo.path for photos in listed.parts.values() for photo in photos]


def _is_there(file: Path) -> bool:
    try:
        return file.is_file()
    except (OSError, ValueError):
        return False
