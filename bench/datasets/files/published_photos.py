"""The photos that the lists of a published set name: read, and kept decoded in the cache."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bench.datasets.files.cache import cached
from bench.datasets.files.decode import DECODERS, read_pictures
from bench.datasets.files.picture_files import fingerprint
from bench.datasets.files.published_lists import Listed, check_lists, paths
from bench.datasets.split import DataError, Images, Split

__all__ = ["fingerprint_of", "read_photos", "split_of"]


def split_of(listed: Listed, *, counts: Mapping[str, tuple[int, int]], size: int) -> Split:
    """The split that the lists describe, [size, size, 3] a photo, from the cache or from the photos.

    Args:
        listed: what the lists say.
        counts: classes and photos of each part, as published.
        size: side of a picture in pixels; it is the middle square of the photo, resized.

    Raises:
        DataError: the lists are not as published, or a photo is absent or cannot be read.
    """
    check_lists(listed, counts)
    identity = {"dataset": listed.dataset, "content": fingerprint_of(listed), "decoders": DECODERS, "size": size}

    def build() -> Split:
        read = {part: read_photos(listed, part, size) for part in listed.parts}
        return Split(read["train"], read["test"], read.get("gallery"))

    return cached(identity, build)


def fingerprint_of(listed: Listed) -> list[str]:
    """For the identity of a cached split: another one when a photo, or what the lists say, has changed.

    Raises:
        DataError: photos are absent; it says how many and names the first.
    """
    listed_paths, above = paths(listed), os.path.join(listed.root, "")
    try:
        photos = fingerprint(listed.root, [above + path for path in listed_paths])
    except (OSError, ValueError) as error:
        absent = [path for path in listed_paths if not _is_there(listed.root / path)]
        raise DataError(
            f"{listed.root} lacks {len(absent):,} of its {len(listed_paths):,} photos, such as {absent[0]}: "
            f"get them from {listed.source}."
        ) from error
    said = repr((dict(listed.names), {part: list(named) for part, named in listed.parts.items()}))
    return [photos, hashlib.sha256(said.encode()).hexdigest()]


def read_photos(listed: Listed, part: str, size: int) -> Images:
    """The photos of a part, [N, size, size, 3], in the order of the list; classes in the order of their ids.

    Raises:
        DataError: some cannot be read; it says how many and names the first.
    """
    photos = listed.parts[part]
    pictures = read_pictures([listed.root / photo.path for photo in photos], size, 3)
    if not pictures.readable.all():
        count, broken = (~pictures.readable).sum(), photos[int(pictures.readable.argmin())].path
        raise DataError(
            f"{listed.root} has {count:,} photo(s) that cannot be read, such as {broken}: get them from "
            f"{listed.source}."
        )
    ids, labels = np.unique([photo.class_id for photo in photos], return_inverse=True)
    return Images(pictures.images, labels.astype(np.int64), tuple(listed.names[one] for one in ids.tolist()))


def _is_there(file: Path) -> bool:
    try:
        return file.is_file()
    except (OSError, ValueError):
        return False
