"""The files of a report: names that any file system takes, written whole or not at all."""

import hashlib
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

__all__ = ["file_name", "replace"]


def file_name(parts: Sequence[str], *, taken: Collection[str]) -> str:
    """A name any file system takes; where two labels differ only in what it cannot take, the second gets a hash."""
    readable = "-".join(re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in parts)
    if f"{readable}.svg" not in taken:
        return f"{readable}.svg"
    return f"{readable}-{hashlib.sha256(repr(tuple(parts)).encode()).hexdigest()[:6]}.svg"


def replace(path: Path, text: str) -> Path:
    """Write `text` beside `path`, then rename: a reader sees the old file or the new one, never half of one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8", newline="\n")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path
