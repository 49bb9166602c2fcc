"""Rows as they are stored, noted in one file beside them: a line is quicker to read than a small Parquet file.

Whoever stores a row adds a line, and a line counts only while the row's file is the very same one: see
store/kept_rows.py, which takes the lines over from time to time, and removes the file. It may be missing, cut short or
damaged, and may be deleted at any time.
"""

import json
import os
import stat
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.store.places import StoreError
from bench.store.stored_file import DamagedError, content

__all__ = ["NOTED", "append", "forget_noted", "note", "noted"]

NOTED = ".lossbench-rows-new"
"""The name of the file."""
APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
LARGEST = 2**30
"""Bytes: what is longer is not read."""


def note(results: Path, stamp: str, row: Mapping[str, Any]) -> None:
    """Add a line; a folder or disk that cannot take it goes without, and so does one with something else of that name.

    Args:
        results: folder of results.
        stamp: of the file that the row was written to.
        row: column -> value.
    """
    text = json.dumps([stamp, row])
    line = f"\n{zlib.crc32(text.encode()):08x} {text}\n".encode()  # a line that was cut short spoils no other one
    append(results / NOTED, line)


def append(place: Path, lines: bytes) -> None:
    """Add lines to a file, if it can be done and nothing else has its name."""
    with suppress(OSError):
        file = os.open(place, APPENDING, 0o644)
        try:
            if stat.S_ISREG(os.fstat(file).st_mode):
                os.write(file, lines)
        finally:
            os.close(file)


def noted(results: Path) -> dict[str, dict[str, Any]]:
    """Stamp -> row of the lines that are whole, the newest last."""
    try:
        lines = content(results / NOTED, most=LARGEST).splitlines()
    except (FileNotFoundError, StoreError, DamagedError):
        return {}
    found = {}
    for line in filter(None, lines):
        checksum, _, text = line.partition(b" ")
        if checksum == b"%08x" % zlib.crc32(text):
            with suppress(ValueError, TypeError, RecursionError):
                stamp, row = json.loads(text)
                found[str(stamp)] = dict(row)
    return found


def forget_noted(results: Path) -> None:
    """Remove the file: its lines are kept elsewhere, and one that has just been added is read from its own file."""
    with suppress(OSError):
        os.unlink(results / NOTED)
