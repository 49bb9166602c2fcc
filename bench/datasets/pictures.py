"""Picture files of any kind, read as square uint8 arrays."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, features
from PIL import __version__ as pillow

from bench.datasets.cache import room
from bench.datasets.split import DataError

__all__ = ["DECODERS", "EXTENSIONS", "Pictures", "files", "fingerprint", "read", "read_all"]

EXTENSIONS = frozenset([".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"])
DECODERS = ["1", pillow, features.version("jpg")]
"""For the identity of a cached split: this reader's version, raised when a pixel changes, and the libraries' own."""


class Pictures(NamedTuple):
    """Pictures read, and those that could not be."""

    images: NDArray[np.uint8]
    """[N, size, size, channels], of the readable ones, in order."""
    readable: NDArray[np.bool_]
    """One flag a file."""


def read(file: Path | BytesIO, size: int, channels: int) -> NDArray[np.uint8]:
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


def read_all(sources: Sequence[Path | bytes], size: int, channels: int, *, skip_broken: bool = False) -> Pictures:
    """Pictures of files, or of the bytes of files, read on all cores; above 1 GB kept on disk, see `cache.room`.

    Raises:
        DataError: one cannot be read, and `skip_broken` is false; it names the file. Or there is no place on the disk.
    """
    images = room((len(sources), size, size, channels))
    fill = partial(_fill, images, sources, skip_broken)
    with ThreadPoolExecutor(_cores()) as pool:
        walk = pool.map if _worth_threads(sources) else map
        readable = np.fromiter(walk(fill, range(len(sources))), np.bool_, len(sources))
    return Pictures(images if readable.all() else images[readable], readable)


def files(folder: Path) -> list[Path]:
    """Every picture (by its extension) below a folder, sorted; hidden files and folders are passed over."""
    return sorted(_walk(folder))


def fingerprint(root: Path, found: Sequence[Path]) -> str:
    """SHA-256 over relative names, sizes and times of change: another one when a file was added, removed or changed."""
    sha = hashlib.sha256()
    for file in found:
        stat = file.stat()
        sha.update(f"{file.relative_to(root).as_posix()}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return sha.hexdigest()


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS:
                yield Path(place, name)


def _fill(images: NDArray[np.uint8], sources: Sequence[Path | bytes], skip_broken: bool, index: int) -> bool:
    source = sources[index]
    try:
        _, size, _, channels = images.shape
        images[index] = read(BytesIO(source) if isinstance(source, bytes) else source, size, channels)
    except Exception as error:  # a broken file can raise nearly anything in Pillow's decoders
        if skip_broken:
            return False
        name = f"picture {index}" if isinstance(source, bytes) else str(source)
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(
            f"{name} cannot be read as a picture ({reason}): repair it, remove it, or leave out all such pictures with "
            "skip_broken = true (--skip-broken)."
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
