"""Picture files of any kind, read as square uint8 arrays."""

import logging
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError, features
from PIL import __version__ as pillow

from bench.datasets.files.bit_depth import eight_bits, stated_depth
from bench.datasets.files.file_kinds import PICTURES, refused
from bench.datasets.files.scratch import room
from bench.datasets.split import reason

__all__ = ["DECODERS", "REPAIR", "Decoded", "compact", "read_picture", "read_pictures", "watching"]


def _heif_version() -> str | None:
    try:
        return version("pillow-heif")
    except PackageNotFoundError:
        return None


DECODERS = ["3", pillow, features.version("jpg"), features.version("avif"), _heif_version()]
"""For the identity of a cached split: this reader's version, raised when a pixel changes, and the libraries' own."""
REPAIR = "repair or remove them, or leave out all such pictures with skip_broken = true (--skip-broken)"
REPORT_SECONDS = 0.1
CHUNK = 16  # pictures per task of the pool: one by one, small JPEGs take up to 1.4 times as long on two cores
BLOCK_BYTES = 16 * 2**20

_watcher: ContextVar[Callable[[int, int], None] | None] = ContextVar("watcher", default=None)
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else what Pillow logs of odd files comes to the terminal


class Decoded(NamedTuple):
    """Pictures read, and those that could not be."""

    images: NDArray[np.uint8]
    """[N, size, size, channels], of the readable ones, in order."""
    readable: NDArray[np.bool_]
    """One flag per file."""
    problems: dict[int, str]
    """Number of a file -> why it cannot be read, in a few words."""


def read_picture(file: Path | BytesIO, size: int, channels: int) -> NDArray[np.uint8]:
    """One picture as [size, size, channels] uint8: the middle square, resized with antialiasing (bilinear).

    Turned as its EXIF tag says; transparency is laid on white; of several frames the first is taken; more than 8 bits
    become 8, see `bit_depth`. Colour profiles are not applied, as in the loaders that pretrained trunks were trained
    with. `channels` is 1 (luminance) or 3 (RGB).

    Raises:
        Exception: whatever Pillow raises where the file is broken.
    """
    if isinstance(file, Path):
        _verify_kind(file)
    with Image.open(file, formats=_formats()) as opened:
        opened.draft(None, (2 * size, 2 * size))  # a large JPEG is decoded at 1/2, 1/4 or 1/8, never below twice `size`
        depth = stated_depth(opened)
        picture = eight_bits(ImageOps.exif_transpose(opened), depth)
    side = min(picture.size)
    left, top = ((length - side) // 2 for length in picture.size)
    middle = _opaque(picture.crop((left, top, left + side, top + side))).convert("L" if channels == 1 else "RGB")
    square = middle.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(square).reshape(size, size, channels)


def read_pictures(sources: Sequence[Path | bytes], size: int, channels: int) -> Decoded:
    """Pictures of files, or of the bytes of files, read on all cores; above 1 GB kept on disk, see `scratch.room`.

    Raises:
        DataError: there is no place on the disk.
    """
    images = room((len(sources), size, size, channels))
    chunks = [range(len(sources))[start : start + CHUNK] for start in range(0, len(sources), CHUNK)]
    with warnings.catch_warnings(), ThreadPoolExecutor(_cores()) as pool:
        warnings.simplefilter("ignore")  # what Pillow warns of is read, or is a problem with a name
        walk = pool.map if _worth_threads(sources) else map
        done = chain.from_iterable(walk(partial(_fill, images, sources), chunks))
        problems = {index: why for index, why in enumerate(_reported(done, len(sources))) if why}
    readable = np.ones(len(sources), np.bool_)
    readable[list(problems)] = False
    return Decoded(compact(images, readable), readable, problems)


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


@cache
def _formats() -> list[str]:
    """Pillow's names of the formats that are read and that it has: others, such as PostScript, run programs."""
    if _heif_version():
        import_module("pillow_heif").register_heif_opener()
    Image.init()
    return sorted({form for form in PICTURES.values() if form in Image.OPEN})


def _verify_kind(file: Path) -> None:
    if why := refused(file.name):
        raise ValueError(why)
    if file.exists() and not file.is_file():  # a pipe would be waited for
        raise ValueError("not a file")


def _reported(problems: Iterable[str], total: int) -> Iterator[str]:
    report, last = _watcher.get(), time.monotonic()
    for done, problem in enumerate(problems, 1):
        if report is not None and (done == total or time.monotonic() - last >= REPORT_SECONDS):
            report(done, total)
            last = time.monotonic()
        yield problem


def _fill(images: NDArray[np.uint8], sources: Sequence[Path | bytes], chunk: range) -> list[str]:
    return [_filled(images[index], sources[index]) for index in chunk]


def _filled(image: NDArray[np.uint8], source: Path | bytes) -> str:
    """Why the picture cannot be read; empty where it is."""
    try:
        image[:] = read_picture(BytesIO(source) if isinstance(source, bytes) else source, len(image), image.shape[2])
    except Exception as error:  # a broken file can raise nearly anything in Pillow's decoders
        return _why(error, source)
    return ""


def _why(error: Exception, source: Path | bytes) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels: make it smaller"
    if not isinstance(error, UnidentifiedImageError):
        return reason(error).rstrip(".")
    beginning = source[:12] if isinstance(source, bytes) else _beginning(source)
    if beginning[4:8] == b"ftyp" and beginning[8:12] not in {b"avif", b"avis"}:
        return "HEIC: pip install pillow-heif, or export it as JPEG"
    if beginning[4:8] == b"ftyp":
        return "AVIF, which this Pillow cannot read: pip install -U pillow, or export it as JPEG"
    return "no picture" if beginning else "an empty file"


def _beginning(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(12)
    except OSError:
        return b""


def _worth_threads(sources: Sequence[Path | bytes]) -> bool:
    """Decoding frees the GIL, but pictures of a few hundred bytes are mostly Python: threads take twice as long."""
    some = sources[:: len(sources) // 10 + 1]
    sizes = (len(source) if isinstance(source, bytes) else source.exists() and source.stat().st_size for source in some)
    return sum(sizes) > 8192 * len(some)


def _opaque(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
