"""Decoded splits on disk: decode once, open in milliseconds ever after."""

import contextlib
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_dir
from pydantic import BaseModel, ConfigDict, ValidationError

from bench.datasets.split import DataError, Images, Split

__all__ = ["cached", "digest", "room"]

LAYOUT = 1
MAPPED_BYTES = 16 * 2**20
IN_MEMORY_BYTES = 2**30
SCRATCH = ".writing-"
PARTS = ("train", "test", "gallery")


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
    root = _root()
    text = json.dumps({"layout": LAYOUT, **identity}, sort_keys=True)
    folder = root / f"{identity['dataset']}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    split = _read(folder)
    if split is not None:
        return split
    with _scratch(root) as scratch:
        built = build()
        built = built._replace(sha=digest(built))
        try:
            return _keep(built, Path(scratch), folder)
        except OSError as error:
            raise _unwritable(root, error) from error


def digest(split: Split) -> str:
    """SHA-256 (hex) over the images, labels and class names of all parts."""
    sha = hashlib.sha256()
    for name, part in _parts(split).items():
        sha.update(json.dumps([name, part.images.shape, part.classes]).encode())
        sha.update(np.ascontiguousarray(part.images).data)
        sha.update(part.labels.astype("<i8").tobytes())
    return sha.hexdigest()


def room(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """An array to decode into, of any content; above 1 GB a map of a nameless file in the cache, gone with the array.

    So a set may be larger than the memory; while it is built it takes its place on the disk twice.

    Raises:
        DataError: the cache cannot be written, or its disk is full.
    """
    size = math.prod(shape)
    if size <= IN_MEMORY_BYTES:
        return np.empty(shape, np.uint8)
    root = _root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(prefix=SCRATCH, dir=root) as file:
            if hasattr(os, "posix_fallocate"):  # a map that the disk has no place for kills the process
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, np.uint8, "w+", shape=shape)
    except OSError as error:
        raise _unwritable(root, error) from error


def _root() -> Path:
    return Path(os.environ.get("BENCH_CACHE") or user_cache_dir("lossbench", appauthor=False))


def _parts(split: Split) -> dict[str, Images]:
    named = zip(PARTS, split[:3], strict=True)
    return {name: part for name, part in named if part is not None}


def _scratch(root: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        return tempfile.TemporaryDirectory(prefix=SCRATCH, dir=root, ignore_cleanup_errors=True)
    except OSError as error:
        raise _unwritable(root, error) from error


def _sweep(root: Path) -> None:
    """Remove what writers that were killed have left behind, a day later."""
    for left in root.glob(f"{SCRATCH}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 24 * 3600:
                shutil.rmtree(left, ignore_errors=True)


def _unwritable(root: Path, error: OSError) -> DataError:
    reason = error.strerror or str(error)
    return DataError(f"The cache {root} cannot be written ({reason}): set BENCH_CACHE to a folder that can.")


def _keep(split: Split, scratch: Path, folder: Path) -> Split:
    """Write under another name, rename, read back; of writers at the same time, the first to rename wins."""
    written = scratch / "split"
    _write(written, split)
    for _ in range(2):
        with contextlib.suppress(OSError):
            written.rename(folder)
        kept = _read(folder)
        if kept is not None:
            return kept
        shutil.rmtree(folder, ignore_errors=True)
    return split


def _write(folder: Path, split: Split) -> None:
    folder.mkdir()
    parts = _parts(split)
    for name, part in parts.items():
        np.save(folder / f"{name}.images.npy", part.images)
        np.save(folder / f"{name}.labels.npy", part.labels)
    described = {
        name: PartMeta(shape=part.images.shape, classes=part.classes, texts=part.texts) for name, part in parts.items()
    }
    meta = Meta(sha=split.sha, notes=split.notes, parts=described)
    (folder / "meta.json").write_text(meta.model_dump_json(), encoding="utf-8")


def _read(folder: Path) -> Split | None:
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
