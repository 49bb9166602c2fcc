"""The picture files below a folder, each folder once, and what else lies among them."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from bench.datasets.files.file_kinds import is_picture
from bench.datasets.split import DataError, reason

__all__ = ["Found", "Walk", "fingerprint", "picture_files"]


class Found(NamedTuple):
    """What lies below a folder, sorted; hidden files and folders are passed over."""

    pictures: list[Path]
    """By how their names end: one may be empty, a pipe, or a link that leads nowhere."""
    others: list[Path]


class Walk:
    """A walk through folders and the folders that they link to, which meets none twice."""

    def __init__(self, root: Path) -> None:
        self.root = os.path.realpath(root)
        self.met: dict[str, str] = {}

    def below(self, folder: Path) -> Found:
        """What lies below a folder.

        Raises:
            DataError: a folder cannot be opened, or is met twice, as with a link to a folder that it is in.
        """
        found = Found([], [])
        for place, folders, names in os.walk(folder, onerror=_cannot_open, followlinks=True):
            self._meet(place)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in names:
                if not name.startswith("."):
                    (found.pictures if is_picture(name) else found.others).append(Path(place, name))
        return Found(sorted(found.pictures), sorted(found.others))

    def _meet(self, place: str) -> None:
        real = os.path.realpath(place)
        if os.path.join(self.root, "").startswith(os.path.join(real, "")):
            raise DataError(f"{place} is a link to {real}, which holds all the classes: remove it.")
        if real in self.met:
            raise DataError(f"{self.met[real]} and {place} are the same folder: remove the one that is a link.")
        self.met[real] = place


def picture_files(folder: Path) -> list[Path]:
    """Every picture (by how its name ends) below a folder, sorted; hidden files and folders are passed over.

    Raises:
        DataError: a folder cannot be opened, or is met twice.
    """
    return Walk(folder / "..").below(folder).pictures


def fingerprint(root: Path, found: Iterable[Path | str]) -> str:
    """SHA-256 over names below `root`, sizes and times of change: another one when a file is added, removed or changed.

    Paths are text here: of a hundred thousand files, pathlib takes longer than the disk.
    """
    sha, above = hashlib.sha256(), os.path.join(root, "")
    for file in found:
        stat = os.stat(file)
        name = os.fspath(file).removeprefix(above).replace(os.sep, "/")
        sha.update(os.fsencode(name) + f"\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return sha.hexdigest()


def _cannot_open(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be opened ({reason(error)}): allow it, or move the folder away.")
