"""The content of a file as a hash, which decides what a job computes; its path does not."""

import errno
import hashlib
import stat
from functools import lru_cache
from pathlib import Path

__all__ = ["sha256"]


def sha256(path: Path) -> str:
    """SHA-256 of a file, read piece by piece; asked again, read again only if its time or size has changed.

    Raises:
        OSError: the file cannot be read.
    """
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):  # a pipe would be waited for
        raise OSError(errno.EINVAL, "it is no ordinary file", str(path))
    return _sha256(path.resolve(), state.st_mtime_ns, state.st_size)


@lru_cache
def _sha256(path: Path, time: int, size: int) -> str:  # noqa: ARG001
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
