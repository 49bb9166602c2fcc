"""Rows as they are stored, noted in one file beside them: a line is quicker to read than a small Parquet file.

Whoever stores a row adds a line, and a line counts only while the row's file is the very same one: see
store/row_cache.py, which takes the lines over from time to time, and removes the file. It may be missing, cut short or
damaged, and may be deleted at any time.
"""

import json
import os
import secrets
import stat
import zlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.store.job_folders import DRAFT, StoreError
from bench.store.processes import ours
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
    append(results / NOTED, _line(json.dumps([stamp, row]).encode()))


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
    found = {}
    for text in _texts(results):
        with suppress(ValueError, TypeError, RecursionError):
            stamp, row = json.loads(text)
            found[str(stamp)] = dict(row)
    return found


def forget_noted(results: Path, kept: Collection[str]) -> None:
    """Leave out the rows that are kept elsewhere, by their stamps.

    A line that is added at this very moment may be lost with them: its row is read from its own file then.
    """
    left = [text for text in _texts(results) if _stamp(text) not in kept]
    draft = results / f"{DRAFT}{ours().mark}{secrets.token_hex(4)}"
    with suppress(OSError):
        if not left:
            os.unlink(results / NOTED)
            return
        try:
            draft.write_bytes(b"".join(map(_line, left)))
            os.replace(draft, results / NOTED)
        finally:
            draft.unlink(missing_ok=True)


def _stamp(text: bytes) -> str:
    """The first of its strings, without reading the row."""
    return text.partition(b'"')[2].partition(b'"')[0].decode("ascii", "replace")


def _line(text: bytes) -> bytes:
    return b"\n%08x %s\n" % (zlib.crc32(text), text)  # a line that was cut short spoils no other one


def _texts(results: Path) -> list[bytes]:
    """Those of whole lines."""
    try:
        lines = content(results / NOTED, most=LARGEST).splitlines()
    except (FileNotFoundError, StoreError, DamagedError):
        return []
    parts = [line.partition(b" ")[::2] for line in lines]
    return [text for checksum, text in parts if text and checksum == b"%08x" % zlib.crc32(text)]
