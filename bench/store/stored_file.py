"""One stored file, read so that nothing in its place does harm: no pipe is waited for, no stated length is believed."""

import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.store.job_folders import StoreError, unopened

__all__ = ["UNREADABLE", "DamagedError", "content", "mapped", "matrix", "parsed", "verify_finite"]

UNREADABLE = (OSError, pa.ArrowException, ValueError, MemoryError, OverflowError)
"""What reading a Parquet file raises where it is damaged or not ours; ValueError has the letters of its names in it."""
AT_ONCE = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
BLOCK = 2**24
"""How many numbers are looked at together."""


class DamagedError(Exception):
    """A file of ours cannot be what a job left there; the text goes on from its name, as in "is empty"."""


def content(file: Path, *, most: int | None = None) -> bytes:
    """The bytes of an ordinary file, and of nothing else.

    Arrow is given these and not the file: it says OSError of one that it cannot open and of one that is damaged.

    Raises:
        FileNotFoundError: nothing is there.
        StoreError: it cannot be opened, or is no ordinary file, which is no damage.
        DamagedError: it has more than `most` bytes.
    """
    with _opened(file) as opened:
        if most is not None and (size := os.fstat(opened.fileno()).st_size) > most:
            raise DamagedError(f"is far too large, {size:,} bytes")
        return opened.read()


def parsed(data: bytes, file: Path, *, only: Collection[str] | None = None) -> pa.Table:
    """The table in the bytes of a Parquet file; with `only`, no columns but these.

    Raises:
        DamagedError: it is no Parquet file, or one whose content cannot be read.
        StoreError: this version of pyarrow cannot read it.
    """
    try:
        whole = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False)
        names = whole.schema_arrow.names
        table = whole.read(None if only is None else [name for name in names if name in only], use_threads=False)
        table.validate(full=True)  # the letters of a damaged file
    except pa.ArrowNotImplementedError as error:
        raise StoreError(f"{file}: this version of pyarrow cannot read it ({error}); install a newer one") from error
    except UNREADABLE as error:
        raise DamagedError("is no whole Parquet file" if data else "is empty") from error
    if len(set(names)) < len(names):
        raise DamagedError("has two columns of one name")
    return table


def matrix(file: Path) -> NDArray[np.float32]:
    """The array of a .npy file: float32 [N, dim], every number finite.

    Raises:
        FileNotFoundError: nothing is there.
        StoreError: it cannot be opened, or is no ordinary file, which is no damage.
        DamagedError: it is no such array.
    """
    found = np.array(mapped(file))
    verify_finite(found)
    return found


def verify_finite(found: NDArray[np.float32]) -> None:
    """Raise DamagedError where a number of the array [N, dim] is not finite."""
    step = max(1, BLOCK // found.shape[1])
    if not all(np.isfinite(found[start : start + step]).all() for start in range(0, len(found), step)):
        raise DamagedError("holds numbers that are not finite")


def mapped(file: Path) -> NDArray[np.float32]:
    """The same as a map of the file: of the right kind and length, its numbers not looked at.

    Raises:
        FileNotFoundError, StoreError, DamagedError: as `matrix`.
    """
    try:
        with _opened(file) as opened:
            if not os.fstat(opened.fileno()).st_size:
                raise DamagedError("is empty")
            found = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, DamagedError):
        raise
    except Exception as error:  # a damaged header can raise nearly anything in numpy
        raise DamagedError("is no whole array of numbers") from error
    if not isinstance(found, np.ndarray):
        found.close()
        raise DamagedError("is an archive of arrays")
    if found.dtype != np.float32 or found.ndim != 2 or not found.size:
        shape = " × ".join(map(str, found.shape)) or "no dimensions"
        raise DamagedError(f"holds {found.dtype} of {shape}, not float32 of rows × dimensions")
    return found


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    """An ordinary file, opened without waiting for whoever may write into a pipe."""
    try:
        number = os.open(file, AT_ONCE)
        try:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise OSError(0, "it is no ordinary file")
            with os.fdopen(number, "rb", closefd=False) as opened:
                yield opened
        finally:
            os.close(number)
    except FileNotFoundError:
        if not file.is_symlink():
            raise
        raise StoreError(f"{file}: is a link to a file that is not there; fetch the file, or mend it") from None
    except OSError as error:
        raise unopened(file, error) from error
