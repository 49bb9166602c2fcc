"""The files of a report: names that any file system takes, written whole or not at all, and never over another's."""

import hashlib
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from bench.matrix.job import ConfigError

__all__ = ["GENERATOR", "LONGEST", "file_name", "replace_file", "write_files"]

GENERATOR = "lossbench"
"""What a page and a plot say of who made them."""
OURS = ("Made by `bench ", f'content="{GENERATOR}"', f"<!-- {GENERATOR} -->")
"""One of these is at the beginning of every file of a report."""
LONGEST = 120
"""Characters of a file's name; file systems take 255 bytes, and a temporary name adds some."""


def file_name(parts: Sequence[str], *, taken: Collection[str]) -> str:
    """A name any file system takes; a long one, or one that another label has already, gets a hash."""
    readable = "-".join(re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in parts)
    if len(readable) <= LONGEST and f"{readable}.svg" not in taken:
        return f"{readable}.svg"
    readable = readable[:LONGEST].rstrip("-")
    return f"{readable}-{hashlib.sha256(repr(tuple(parts)).encode()).hexdigest()[:6]}.svg"


def write_files(output: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write `texts`, by the name of the file, into the folder `output`, which is made where there is none.

    Raises:
        ConfigError: a file of that name is not from a report, so nothing was written; or the folder cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        if foreign := [name for name in texts if (output / name).exists() and not _ours(output / name)]:
            raise ConfigError(f"{output / foreign[0]} was not made by bench; name another folder with --output")
        return [replace_file(output / name, text) for name, text in texts.items()]
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ConfigError(f"{output}: cannot be written ({why}); name another folder with --output") from error


def _ours(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        beginning = file.read(4096)
    return any(mark in beginning for mark in OURS)


def replace_file(path: Path, text: str) -> Path:
    """Write `text` beside `path`, then rename: a reader sees the old file or the new one, never half of one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8", newline="\n")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path
