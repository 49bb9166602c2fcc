"""One process at a time: of several that want the same data decoded, one does it while the others wait."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.datasets.files.scratch import unwritable

__all__ = ["one_process"]


@contextmanager
def one_process(lock: Path) -> Iterator[None]:
    """Within it no other process holds the file `lock`, which is there as long as one does.

    Processes of other machines wait too if the file system has locks for them. Where it has none, nobody waits.

    Raises:
        DataError: the file cannot be made.
    """
    while True:
        try:
            held = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise unwritable(lock.parent, error) from error
        with suppress(OSError):  # a file system without locks
            fcntl.flock(held, fcntl.LOCK_EX)
        if _is_there(lock, held):
            break
        os.close(held)  # who had it has removed it meanwhile
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(held)


def _is_there(lock: Path, held: int) -> bool:
    """Whether the file that is held is still the one of this name."""
    try:
        return lock.stat().st_ino == os.fstat(held).st_ino
    except FileNotFoundError:
        return False
