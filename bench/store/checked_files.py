"""Which files beside the rows are whole, noted in one file: to look into thousands of them at every run is slow.

Whoever stores a job, or has looked into its files, adds a line. It counts only while these files are the very same
ones, by their numbers, sizes and times of change. The file may be missing or damaged, and may be deleted at any time.
"""

import os
from collections.abc import Collection, Iterable
from hashlib import blake2b
from pathlib import Path

from bench.store.job_folders import StoreError
from bench.store.row_journal import append
from bench.store.stored_file import DamagedError, content

__all__ = ["SEEN", "mark", "note_seen", "seen"]

SEEN = ".lossbench-files-seen"
"""The name of the file."""
LARGEST = 2**28
"""Bytes: what is longer is not read."""


def mark(folder: Path, names: Iterable[str]) -> str:
    """What tells these files of a job from any later ones; some may be absent."""
    found = [folder.name]
    for name in names:
        try:
            one = os.lstat(f"{folder}/{name}")
        except OSError:
            continue
        found.append(f"{name} {one.st_ino} {one.st_size} {one.st_mode} {one.st_ctime_ns}")
    return blake2b("\n".join(found).encode(), digest_size=16).hexdigest()


def note_seen(results: Path, marks: Collection[str]) -> None:
    """Files with these marks are whole."""
    if marks:
        append(results / SEEN, "".join(f"\n{one}\n" for one in marks).encode())


def seen(results: Path) -> frozenset[str]:
    """The marks of files that are whole."""
    try:
        return frozenset(content(results / SEEN, most=LARGEST).decode("ascii", "replace").split())
    except (FileNotFoundError, StoreError, DamagedError):
        return frozenset()
