"""Picture files of any kind, read as square uint8 arrays."""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, features
from PIL import __version__ as pillow

from bench.datasets.reading.scratch import room
from bench.datasets.split import DataError, reason

__all__ = [
    "DECODERS",
    "EXTENSIONS",
    "Decoded",
    "compact",
    "fingerprint",
    "picture_files",
    "read_picture",
    "read_pictures",
    "watching",
]

EXTENSIONS = frozenset([".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"])
DECODERS = ["1", pillow, features.version("jpg")]
"""For the identity of a cached split: this reader's version, raised when a pixel changes, and the libraries' own."""
REPORT_SECONDS = 0.1
CHUNK = 16  # pictures a task of the pool: one by one, small JPEGs take up to 1.4 times as long on two cores
BLOCK_BYTES = 16 * 2**20

_watcher: ContextVar[Callable[[int, int], None] | None] = ContextVar("watcher", default=None)


class Decoded(NamedTuple):
    """Pictures read, and those that could not be."""

    images: NDArray[np.uint8]
    """[N, size, size, channels], of the readable ones, in order."""
    readable: NDArray[np.bool_]
    """One flag a file."""


def read_picture(file: Path | BytesIO, size: int, channels: int) -> NDArray[np.uint8]:
    """One picture as [size, size, channels] uint8: the middle square, resized with antialiasing (bilinear).

    Turned as its EXIF tag says; transparency is laid on white; 16 bits become 8; of several frames the first is taken.
    `channels` is 1 (luminance) or 3 (RGB).

    Raises:
        Exception: whatever Pillow raises where the file is broken.
    """
    with Image.open(file) as opened:
        opened.draft(None, (2 * size, 2 * size))  # a large JPEG is decoded at 1/2, 1/4 or 1/8, never below twice `size`
        picture = ImageOps.exif_transpose(opened)
    side = min(picture.size)
    left, top = ((length - side) // 2 for length in picture.size)
    middle = _opaque(picture.crop((left, top, left + side, top + side))).convert("L" if channels == 1 else "RGB")
    square = middle.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(square).reshape(size, size, channels)


def read_pictures(sources: Sequence[Path | bytes], size: int, channels: int, *, skip_broken: bool = False) -> Decoded:
    """Pictures of files, or of the bytes of files, read on all cores; above 1 GB kept on disk, see `cache.room`.

    Raises:
        DataError: one cannot be read, and `skip_broken` is false; it names the file. Or there is no place on the disk.
    """
    images = room((len(sources), size, size, channels))
    chunks = [range(len(sources))[start : start + CHUNK] for start in range(0, len(sources), CHUNK)]
    with ThreadPoolExecutor(_cores()) as pool:
        walk = pool.map if _worth_threads(sources) else map
        done = chain.from_iterable(walk(partial(_fill, images, sources, skip_broken), chunks))
        readable = np.fromiter(_reported(done, len(sources)), np.bool_, len(sources))
    return Decoded(compact(images, readable), readable)


def compact(images: NDArray[np.uint8], kept: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The pictures flagged, as the first rows of the same array, which is overwritten; a copy could exceed memory."""
    end = int(kept.argmin()) if not kept.all() else len(kept)
    step = max(1, BLOCK_BYTES // max(1, images[:1].nbytes))
    for start in range(end, len(kept), step):
        block = images[start : start + step][kept[start : start + step]]
        images[end : end + len(block)] = block
        end += len(block)
    return images[:end]


@contextmanager
def watching(callback: Callable[[int, int], None]) -> Iterator[None]:
    """While it is active, `read_pictures` says how far it is: `callback(done, total)`, both pictures of that one call.

    From the thread that calls `read_pictures`, at most ten times a second, and once more when all are done.
    """
    token = _watcher.set(callback)
    try:
        yield
    finally:
        _watcher.reset(token)


def picture_files(folder: Path) -> list[Path]:
    """Every picture (by its extension) below a folder, sorted; hidden files and folders are passed over."""
    return sorted(_walk(folder))


def fingerprint(root: Path, found: Iterable[Path | str]) -> str:
    """SHA-256 over names below `root`, sizes and times of change: another one when a file is added, removed or changed.

    Paths are text here: of a hundred thousand files, pathlib takes longer than the disk.
    """
    sha, above = hashlib.sha256(), os.path.join(root, "")
    for file in found:
        stat = os.stat(file)
        name = os.fspath(file).removeprefix(above).replace(os.sep, "/")
        sha.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return sha.hexdigest()


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS:
                yield Path(place, name)


def _reported(flags: Iterable[bool], total: int) -> Iterator[bool]:
    report, last = _watcher.get(), time.monotonic()
    for done, flag in enumerate(flags, 1):
        if report is not None and (done == total or time.monotonic() - last >= REPORT_SECONDS):
            report(done, total)
            last = time.monotonic()
        yield flag


def _fill(images: NDArray[np.uint8], sources: Sequence[Path | bytes], skip_broken: bool, chunk: range) -> list[bool]:
    return [_filled(images[index], sources[index], index, skip_broken) for index in chunk]


def _filled(image: NDArray[np.uint8], source: Path | bytes, index: int, skip_broken: bool) -> bool:
    try:
        image[:] = read_picture(BytesIO(source) if isinstance(source, bytes) else source, len(image), image.shape[2])
    except Exception as error:  # a broken file can raise nearly anything in Pillow's decoders
        if skip_broken:
            return False
        name = f"picture {index}" if isinstance(source, bytes) else str(source)
        raise DataError(
            f"{name} cannot be read as a picture ({reason(error)}): repair it, remove it, or leave out all such "
            "pictures with skip_broken = true (--skip-broken)."
        ) from error
    return True


def _worth_threads(sources: Sequence[Path | bytes]) -> bool:
    """Decoding frees the GIL, but pictures of a few hundred bytes are mostly Python: threads take twice as long."""
    some = sources[:: len(sources) // 10 + 1]
    sizes = (len(source) if isinstance(source, bytes) else source.exists() and source.stat().st_size for source in some)
    return sum(sizes) > 8192 * len(some)


def _opaque(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits, which convert("L") would cut off at 255
        return Image.fromarray((np.asarray(picture).clip(0, 65535) >> 8).astype(np.uint8))
    if not picture.has_transparency_data:
        return picture
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
