"""Decoded splits on disk: decode once, open in milliseconds ever after."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from bench.datasets.files.one_process import one_process
from bench.datasets.files.scratch import SCRATCH, building, file_of, save, scratch_folder, unwritable
from bench.datasets.split import Images, Split
from bench.matrix.cache_folder import cache_folder

__all__ = ["cached", "digest", "read_cached"]

LAYOUT = 1
MAPPED_BYTES = 16 * 2**20
PARTS = ("train", "test", "gallery")


class PartMeta(BaseModel):
    """What the arrays of a part do not say themselves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: tuple[int, int, int, int] | tuple[int, int]
    """Of pictures, or of vectors."""
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
    that cannot be read is built again. Of several processes that need it one builds it, and the others wait.

    Raises:
        DataError: the cache cannot be written.
    """
    root = cache_folder()
    text = json.dumps({"layout": LAYOUT, **identity}, sort_keys=True)
    folder = root / f"{identity['dataset']}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    split = read_cached(folder)
    if split is not None:
        return split
    lock = root / f"{SCRATCH}{folder.name}.lock"
    with scratch_folder(root) as name, building(Path(name)) as scratch, one_process(lock):
        split = read_cached(folder)
        if split is not None:
            return split
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


def _parts(split: Split) -> dict[str, Images]:
    named = zip(PARTS, split[:3], strict=True)
    return {name: part for name, part in named if part is not None}


def _keep(split: Split, scratch: Path, folder: Path) -> Split:
    """Write under another name, rename, read back; of writers at the same time, the first to rename wins."""
    written = scratch / "split"
    _write(written, split)
    for _ in range(2):
        with contextlib.suppress(OSError):
            written.rename(folder)
        kept = read_cached(folder)
        if kept is not None:
            return kept
        shutil.rmtree(folder, ignore_errors=True)
    return split


def _write(folder: Path, split: Split) -> None:
    folder.mkdir()
    parts = _parts(split)
    # a file is cut when it is moved: parts that are further rows of it are copied before
    for name, part in sorted(parts.items(), key=lambda named: file_of(named[1].images) is not None):
        save(folder / f"{name}.images.npy", part.images)
        np.save(folder / f"{name}.labels.npy", part.labels)
    described = {
        name: PartMeta(shape=part.images.shape, classes=part.classes, texts=part.texts) for name, part in parts.items()
    }
    meta = Meta(sha=split.sha, notes=split.notes, parts=described)
    (folder / "meta.json").write_text(meta.model_dump_json(), encoding="utf-8")


def read_cached(folder: Path) -> Split | None:
    """A split as `cached` has stored it; None where the folder cannot be read."""
    try:
        meta = Meta.model_validate_json((folder / "meta.json").read_bytes())
        parts = {name: _read_part(folder / name, part) for name, part in meta.parts.items()}
        return Split(parts["train"], parts["test"], parts.get("gallery"), meta.sha, meta.notes)
    except Exception:  # a damaged header can raise nearly anything in numpy
        return None


def _read_part(stem: Path, meta: PartMeta) -> Images:
    images = _load(stem.with_name(f"{stem.name}.images.npy"))
    labels = np.load(stem.with_name(f"{stem.name}.labels.npy"))
    if images.shape != meta.shape or labels.shape != meta.shape[:1]:
        raise ValueError("the arrays are not those that meta.json describes")
    return Images(images, labels, meta.classes, meta.texts)


def _load(path: Path) -> NDArray[Any]:
    mapped = path.stat().st_size > MAPPED_BYTES
    images: NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None)
    return images
