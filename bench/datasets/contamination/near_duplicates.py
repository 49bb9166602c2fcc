"""Test photos that are nearly the same picture as a training photo, found by perceptual hash."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import faiss
import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from bench.datasets.files.cache import digest
from bench.datasets.files.scratch import scratch_folder, unwritable
from bench.datasets.split import Images, Split, are_vectors
from bench.matrix.cache_folder import cache_folder

__all__ = ["DISTANCE", "NearDuplicates", "Pair", "near_duplicates"]

LAYOUT = 1
SIDE = 16  # with the usual 8, 64 bits, the distance that finds 9 of 10 such copies takes 7 pairs of strangers for them
SHRUNK = 2  # the picture is hashed at SIDE * SHRUNK pixels; twice as many find no more
DISTANCE = 40
"""Bits of 256 in which near-duplicates differ at most.

Measured at 128 px on Stanford Cars (the training half, box crops) and Grocery Store: every copy by JPEG at quality 20,
at 0.7 and 1.3 times the brightness, or at 1.3 times the contrast is found; 99 % of those resized to half, or with a
margin of 2 % cut off; 85 and 99 % of those cut, resized, brightened and saved at quality 50, all at once; next to none
with a margin of 5 % cut off, mirrored or laid on the side. Of 24 million pairs across the two sides none is as close,
the next differing in 54 bits; of 48 million pairs within the two sets 38 are, and all but one of those show one scene.
"""
SET_BITS = 96  # half of the bits are set, unless coefficients are equal: then the picture is one colour, or stripes
BLOCK = 256
EXAMPLES = 20


TestPart = Literal["test", "gallery"]
TEST_PARTS: tuple[TestPart, ...] = ("test", "gallery")


class Pair(BaseModel):
    """A test image and the training image that is nearest to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    part: TestPart
    image: int
    """Its number in that part, from 0."""
    training_image: int
    distance: int
    """Bits of 256 in which the hashes differ."""


class NearDuplicates(BaseModel):
    """What was found in a split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int
    """Test images, queries and gallery, with a near-duplicate among the training images."""
    compared: int
    """Test images looked at."""
    flat: int
    """Test images left out: of one colour or of stripes, which all hash alike."""
    pairs: tuple[Pair, ...]
    """The nearest of them, at most 20."""


def near_duplicates(split: Split) -> NearDuplicates | None:
    """Test images within DISTANCE of a training image, by the perceptual hash of their luminance (imagehash.phash).

    None for vectors, and for images of one channel: two drawings of a few strokes may hash alike without one being a
    copy of the other, as 2 of 3,295 test drawings of Omniglot do with one of another alphabet. The result is kept in
    the cache, by the split's SHA-256; a file that cannot be read is made again.

    Raises:
        DataError: the cache cannot be written.
    """
    if are_vectors(split) or split.train.images.shape[-1] == 1:
        return None
    root = cache_folder()
    file = root / f"near-duplicates-{_identity(split)}.json"
    known = _read(file)
    if known is not None:
        return known
    with scratch_folder(root) as scratch:
        found = _find(split)
        try:
            written = Path(scratch, file.name)
            written.write_text(found.model_dump_json(), encoding="utf-8")
            written.replace(file)
        except OSError as error:
            raise unwritable(root, error) from error
    return found


def _identity(split: Split) -> str:
    """Another one when the images change, or anything that their comparison depends on."""
    constants = [LAYOUT, SIDE, SHRUNK, DISTANCE, SET_BITS, EXAMPLES]
    libraries = [version(name) for name in ("imagehash", "pillow", "scipy")]
    text = json.dumps([split.sha or digest(split), constants, libraries])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(file: Path) -> NearDuplicates | None:
    try:
        return NearDuplicates.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None


def _find(split: Split) -> NearDuplicates:
    training = _hashes(split.train.images)
    numbers = np.flatnonzero(~_flat(training))
    index = faiss.IndexBinaryFlat(8 * training.shape[1])
    index.add(training[numbers])
    compared, flat, pairs = 0, 0, list[Pair]()
    for part in TEST_PARTS:
        side: Images | None = getattr(split, part)
        if side is not None:
            hashes = _hashes(side.images)
            looked_at = np.flatnonzero(~_flat(hashes))
            # Without training images the distance is the largest integer.
            distances, nearest = (found[:, 0] for found in index.search(hashes[looked_at], 1))
            close = distances <= DISTANCE
            rows = np.stack([looked_at[close], numbers[nearest[close]], distances[close]], 1).tolist()
            pairs += [Pair(part=part, image=a, training_image=b, distance=bits) for a, b, bits in rows]
            compared, flat = compared + len(looked_at), flat + len(hashes) - len(looked_at)
    pairs.sort(key=lambda pair: pair.distance)
    return NearDuplicates(images=len(pairs), compared=compared, flat=flat, pairs=tuple(pairs[:EXAMPLES]))


def _hashes(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[N, height, width, 3] -> [N, 32], 256 bits an image."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate(list(pool.map(partial(_block, images), range(0, len(images), BLOCK))))


def _block(images: NDArray[np.uint8], start: int) -> NDArray[np.uint8]:
    block = (Image.fromarray(image) for image in images[start : start + BLOCK])
    return np.stack([np.packbits(imagehash.phash(image, SIDE, SHRUNK).hash) for image in block])


def _flat(hashes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    few: NDArray[np.bool_] = np.unpackbits(hashes, axis=1).sum(1) < SET_BITS
    return few
