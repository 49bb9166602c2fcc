"""The very same picture file under several names: a query that finds its own copy is no retrieval."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["Placed", "copies"]


class Placed(NamedTuple):
    """A picture file, its label, and the part of the split that it belongs to."""

    path: str
    label: str
    part: str


def copies(root: Path, pictures: Iterable[Placed]) -> dict[str, str]:
    """Notes on pictures that are byte for byte the same: in query and gallery, on both sides, under two labels."""
    groups = _same(root, pictures)
    found = {
        "in the gallery too": _having(groups, "test", "gallery"),
        "among the training pictures too": _having(groups, "test", "train") + _having(groups, "gallery", "train"),
        "there more than once": [
            one.path for group in groups if not _in(group, "gallery") for one in _in(group, "test")[1:]
        ],
    }
    said = [f"{len(paths):,} test picture(s) {where}: {paths[0]}" for where, paths in found.items() if paths]
    mixed = [group for group in groups if len({one.label for one in group}) > 1]
    notes = {"copies": "; ".join(said)}
    if mixed:
        one, other = mixed[0][0], next(two for two in mixed[0] if two.label != mixed[0][0].label)
        notes["two labels"] = (
            f"{len(mixed):,} picture(s) are there under more than one label: {one.path} is {one.label!r}, and "
            f"{other.path} the same file, {other.label!r}"
        )
    return {key: note for key, note in notes.items() if note}


def _having(groups: Sequence[Sequence[Placed]], part: str, other: str) -> list[str]:
    """Pictures of a part of which the other has a copy."""
    return [one.path for group in groups if _in(group, other) for one in _in(group, part)]


def _in(group: Sequence[Placed], part: str) -> list[Placed]:
    return [one for one in group if one.part == part]


def _same(root: Path, pictures: Iterable[Placed]) -> list[list[Placed]]:
    """Groups of two and more of the same content; only files of the same size are opened."""
    sizes: dict[int, list[Placed]] = defaultdict(list)
    for one in pictures:
        sizes[os.stat(root / one.path).st_size].append(one)
    contents: dict[bytes, list[Placed]] = defaultdict(list)
    for one in (one for alike in sizes.values() if len(alike) > 1 for one in alike):
        contents[hashlib.blake2b((root / one.path).read_bytes()).digest()].append(one)
    return [group for group in contents.values() if len(group) > 1]
