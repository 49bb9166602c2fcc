"""Room in the cache folder for what is being decoded: arrays larger than memory, folders that go when they are left."""

import contextlib
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bench.datasets.split import DataError, reason
from bench.matrix.cache_folder import cache_folder

__all__ = ["SCRATCH", "building", "file_of", "room", "save", "scratch_folder", "unwritable"]

IN_MEMORY_BYTES = 2**30
SCRATCH = ".writing-"
"""What names in the cache begin with that are not whole yet; a day later they are swept."""

_under_way: ContextVar[Path | None] = ContextVar("under_way", default=None)
"""The folder of the split that is being built."""


@contextlib.contextmanager
def scratch_folder(root: Path) -> Iterator[str]:
    """A folder in the cache for what is not whole yet, gone when it is left.

    Its name is known before it is made, so that an interruption at any moment leaves nothing.

    Raises:
        DataError: the cache cannot be written.
    """
    place = root / f"{SCRATCH}{uuid4().hex}"
    try:
        try:
            root.mkdir(parents=True, exist_ok=True)
            _sweep(root)
            place.mkdir(0o700)
        except OSError as error:
            raise unwritable(root, error) from error
        yield str(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove what writers that were killed have left behind, a day later."""
    for left in root.glob(f"{SCRATCH}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 24 * 3600:
                left.unlink() if left.is_file() else shutil.rmtree(left, ignore_errors=True)


def unwritable(root: Path, error: OSError) -> DataError:
    """The sentence for a cache that cannot be written."""
    return DataError(f"The cache {root} cannot be written ({reason(error)}): set BENCH_CACHE to a folder that can.")


@contextlib.contextmanager
def building(scratch: Path) -> Iterator[Path]:
    """Within it, `room` is made in this folder."""
    token = _under_way.set(scratch)
    try:
        yield scratch
    finally:
        _under_way.reset(token)


def room(shape: tuple[int, ...], dtype: DTypeLike = np.uint8) -> NDArray[Any]:
    """An array to decode into, of any content; above 1 GB a map of a file in the cache, so that memory is no limit.

    Within `building` that file becomes the one that is kept, where the array or its first rows are a part's images, and
    is written once; elsewhere it has no name, and is gone with the array.

    Raises:
        DataError: the cache cannot be written, or its disk is full.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= IN_MEMORY_BYTES:
        return np.empty(shape, dtype)
    root, scratch = cache_folder(), _under_way.get()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (scratch / uuid4().hex).open("x+b") if scratch else tempfile.TemporaryFile(dir=root) as file:
            offset = _write_header(file, shape, np.dtype(dtype))
            if hasattr(os, "posix_fallocate"):  # a map that the disk has no place for kills the process
                os.posix_fallocate(file.fileno(), 0, offset + size)
            return np.memmap(file, dtype, "r+", offset, shape)
    except OSError as error:
        raise unwritable(root, error) from error


def save(place: Path, images: NDArray[Any]) -> None:
    """As `np.save` does, but a file of `room` is cut to the rows that are left, and moved."""
    file = file_of(images)
    if file is not None and file.parent == place.parent.parent:
        with contextlib.suppress(OSError), file.open("r+b") as opened:  # Windows cuts and moves no file that is mapped
            opened.truncate(_write_header(opened, images.shape, images.dtype) + images.nbytes)
            file.rename(place)
            return
    np.save(place, images)


def file_of(images: NDArray[Any]) -> Path | None:
    """The file that is mapped, where the array is its first rows."""
    whole = images.base if isinstance(images.base, np.memmap) else images
    if not isinstance(whole, np.memmap) or whole.filename is None:
        return None
    return Path(whole.filename) if whole.ctypes.data == images.ctypes.data and images.flags.c_contiguous else None


def _write_header(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Write what an .npy file begins with, and return its length, which no number of rows changes."""
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)
    return file.tell()
