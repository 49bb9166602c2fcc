"""Decoded splits on disk: decode once, open in milliseconds ever after."""

import contextlib
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_dir
from pydantic import BaseModel, ConfigDict, ValidationError

from bench.datasets.split import DataError, Images, Split, reason

__all__ = ["cache_folder", "cached", "digest", "read", "room", "scratch_folder", "unwritable"]

LAYOUT = 1
MAPPED_BYTES = 16 * 2**20
IN_MEMORY_BYTES = 2**30
SCRATCH = ".writing-"
PARTS = ("train", "test", "gallery")

_under_way: ContextVar[Path | None] = ContextVar("under_way", default=None)
"""The folder of the split that `cached` is building."""


class PartMeta(BaseModel):
    """What the arrays of a part do not say themselves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: tuple[int, int, int, int]
    classes: tuple[str, ...]
    texts: tuple[str, ...] | None


class Meta(BaseModel):
    """meta.json of a cached split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha: str
    notes: dict[str, str]
    parts: dict[str, PartMeta]


def cached(identity: Mapping[str, Any], build: Callable[[], Split]) -> Split:
    """The split that `identity` names, from the cache, or built, stored and then read back.

    `identity` is JSON-able, holds everything that changes the split, and its "dataset" names the folder. The cache is
    the folder BENCH_CACHE, else the user's cache folder. Images above 16 MB come as a read-only memory map. A folder
    that cannot be read is built again.

    Raises:
        DataError: the cache cannot be written.
    """
    root = cache_folder()
    text = json.dumps({"layout": LAYOUT, **identity}, sort_keys=True)
    folder = root / f"{identity['dataset']}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    split = read(folder)
    if split is not None:
        return split
    with scratch_folder(root) as name, _building(Path(name)) as scratch:
        built = build()
        built = built._replace(sha=digest(built))
        try:
            return _keep(built, scratch, folder)
        except OSError as error:
            raise unwritable(root, error) from error


def digest(split: Split) -> str:
    """SHA-256 (hex) over the images, labels and class names of all parts."""
    sha = hashlib.sha256()
    for name, part in _parts(split).items():
        sha.update(json.dumps([name, part.images.shape, part.classes]).encode())
        sha.update(np.ascontiguousarray(part.images).data)
        sha.update(part.labels.astype("<i8").tobytes())
    return sha.hexdigest()


def room(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """An array to decode into, of any content; above 1 GB a map of a file in the cache, so that memory is no limit.

    Within `cached` that file becomes the one that is kept, where the array or its first rows are a part's images, and
    is written once; elsewhere it has no name, and is gone with the array.

    Raises:
        DataError: the cache cannot be written, or its disk is full.
    """
    size = math.prod(shape)
    if size <= IN_MEMORY_BYTES:
        return np.empty(shape, np.uint8)
    root, scratch = cache_folder(), _under_way.get()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (scratch / uuid4().hex).open("x+b") if scratch else tempfile.TemporaryFile(dir=root) as file:
            offset = _write_header(file, shape)
            if hasattr(os, "posix_fallocate"):  # a map that the disk has no place for kills the process
                os.posix_fallocate(file.fileno(), 0, offset + size)
            return np.memmap(file, np.uint8, "r+", offset, shape)
    except OSError as error:
        raise unwritable(root, error) from error


def cache_folder() -> Path:
    """BENCH_CACHE, else the user's cache folder."""
    return Path(os.environ.get("BENCH_CACHE") or user_cache_dir("lossbench", appauthor=False))


def _parts(split: Split) -> dict[str, Images]:
    named = zip(PARTS, split[:3], strict=True)
    return {name: part for name, part in named if part is not None}


@contextlib.contextmanager
def _building(scratch: Path) -> Iterator[Path]:
    token = _under_way.set(scratch)
    try:
        yield scratch
    finally:
        _under_way.reset(token)


def scratch_folder(root: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder in the cache for what is not whole yet, gone when it is left.

    Raises:
        DataError: the cache cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        return tempfile.TemporaryDirectory(prefix=SCRATCH, dir=root, ignore_cleanup_errors=True)
    except OSError as error:
        raise unwritable(root, error) from error


def _sweep(root: Path) -> None:
    """Remove what writers that were killed have left behind, a day later."""
    for left in root.glob(f"{SCRATCH}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 24 * 3600:
                shutil.rmtree(left, ignore_errors=True)


def unwritable(root: Path, error: OSError) -> DataError:
    """The sentence for a cache that cannot be written."""
    return DataError(f"The cache {root} cannot be written ({reason(error)}): set BENCH_CACHE to a folder that can.")


def _keep(split: Split, scratch: Path, folder: Path) -> Split:
    """Write under another name, rename, read back; of writers at the same time, the first to rename wins."""
    written = scratch / "split"
    _write(written, split)
    for _ in range(2):
        with contextlib.suppress(OSError):
            written.rename(folder)
        kept = read(folder)
        if kept is not None:
            return kept
        shutil.rmtree(folder, ignore_errors=True)
    return split


def _write(folder: Path, split: Split) -> None:
    folder.mkdir()
    parts = _parts(split)
    # a file is cut when it is moved: parts that are further rows of it are copied before
    for name, part in sorted(parts.items(), key=lambda named: _file_of(named[1].images) is not None):
        _save(folder / f"{name}.images.npy", part.images)
        np.save(folder / f"{name}.labels.npy", part.labels)
    described = {
        name: PartMeta(shape=part.images.shape, classes=part.classes, texts=part.texts) for name, part in parts.items()
    }
    meta = Meta(sha=split.sha, notes=split.notes, parts=described)
    (folder / "meta.json").write_text(meta.model_dump_json(), encoding="utf-8")


def _save(place: Path, images: NDArray[np.uint8]) -> None:
    """As `np.save` does, but a file of `room` is cut to the rows that are left, and moved."""
    file = _file_of(images)
    if file is not None and file.parent == place.parent.parent:
        with contextlib.suppress(OSError), file.open("r+b") as opened:  # Windows cuts and moves no file that is mapped
            opened.truncate(_write_header(opened, images.shape) + images.nbytes)
            file.rename(place)
            return
    np.save(place, images)


def _file_of(images: NDArray[np.uint8]) -> Path | None:
    """The file that is mapped, where the array is its first rows."""
    whole = images.base if isinstance(images.base, np.memmap) else images
    if not isinstance(whole, np.memmap) or whole.filename is None:
        return None
    return Path(whole.filename) if whole.ctypes.data == images.ctypes.data and images.flags.c_contiguous else None


def _write_header(file: IO[bytes], shape: tuple[int, ...]) -> int:
    """Write what an .npy file begins with, and return its length, which no number of rows changes."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.tell()


def read(folder: Path) -> Split | None:
    """A split as `cached` has stored it; None where the folder cannot be read."""
    try:
        meta = Meta.model_validate_json((folder / "meta.json").read_bytes())
        parts = {name: _read_part(folder / name, part) for name, part in meta.parts.items()}
        return Split(parts["train"], parts["test"], parts.get("gallery"), meta.sha, meta.notes)
    except (OSError, EOFError, ValueError, KeyError, ValidationError):
        return None


def _read_part(stem: Path, meta: PartMeta) -> Images:
    images = _load(stem.with_name(f"{stem.name}.images.npy"))
    labels = np.load(stem.with_name(f"{stem.name}.labels.npy"))
    if images.shape != meta.shape or labels.shape != meta.shape[:1]:
        raise ValueError("the arrays are not those that meta.json describes")
    return Images(images, labels, meta.classes, meta.texts)


def _load(path: Path) -> NDArray[np.uint8]:
    mapped = path.stat().st_size > MAPPED_BYTES
    images: NDArray[np.uint8] = np.load(path, mmap_mode="r" if mapped else None)
    return images
