"""Small sets of embeddings whose distances are exact in single precision, so that ties are ties in every tool."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from support.sample_batches import golden

from bench.scoring.conventions.rescore import EmbeddedImages


def line(labels: str, *places: float) -> EmbeddedImages:
    """EmbeddedImages on a line, classes by letter."""
    return EmbeddedImages(np.array(places, dtype=np.float32)[:, None], numbers(labels))


def numbers(labels: str) -> NDArray[np.int64]:
    return np.array([ord(letter) - ord("a") for letter in labels])


def plain() -> EmbeddedImages:
    rng = np.random.default_rng(5)
    labels = rng.permutation(np.arange(60) % 9)
    points = rng.normal(size=(9, 6))[labels] + rng.normal(size=(60, 6))
    return EmbeddedImages((np.round(points * 1024) / 1024).astype(np.float32), labels)


def ties() -> EmbeddedImages:
    rng = np.random.default_rng(6)
    return EmbeddedImages(rng.integers(0, 3, (50, 3)).astype(np.float32), rng.integers(0, 7, 50))


def identical() -> EmbeddedImages:
    """All images of one class are the same picture, at a place where others lie too."""
    rng = np.random.default_rng(7)
    labels = np.repeat(np.arange(5), 6)
    points = rng.integers(-4, 5, (30, 4)).astype(np.float32)
    points[labels == 2] = points[0]
    return EmbeddedImages(points, labels)


def unequal() -> EmbeddedImages:
    """One class of 24 images, larger than every K, down to lone ones."""
    rng = np.random.default_rng(8)
    labels = rng.permutation(np.repeat(np.arange(6), [24, 9, 4, 2, 1, 1]))
    return EmbeddedImages((rng.integers(-64, 65, (41, 5)) / 16).astype(np.float32), labels)


def searched() -> EmbeddedImages:
    """Queries in a gallery with distractors, and a query whose class it lacks."""
    rng = np.random.default_rng(9)
    queries, labels = rng.integers(-3, 4, (24, 3)).astype(np.float32), rng.permutation(np.arange(24) % 6)
    gallery, gallery_labels = rng.integers(-3, 4, (45, 3)).astype(np.float32), rng.permutation(np.arange(45) % 9)
    labels[3] = 9
    return EmbeddedImages(queries, labels, gallery, gallery_labels)


def stored() -> dict[str, EmbeddedImages]:
    """The golden cases, where there are any."""
    found = {}
    for path in golden("metrics"):
        with np.load(path, allow_pickle=False) as case:
            pool = (None, None) if case["self_excluded"] else (case["gallery"], case["gallery_labels"])
            found[path.stem] = EmbeddedImages(case["query"], case["query_labels"], *pool)
    return found


MADE: dict[str, Callable[[], EmbeddedImages]] = {
    "line": lambda: line("aabbab", 0, 1, 1, 3, 3, 7),
    "duplicates": lambda: line("abab", 0, 0, 4, 5),
    "lone": lambda: line("aabc", 0, 1, 10, 11),
    "plain": plain,
    "ties": ties,
    "identical": identical,
    "unequal": unequal,
    "searched": searched,
}
EVERY = {name: make() for name, make in MADE.items()} | stored()
every = pytest.mark.parametrize("images", EVERY.values(), ids=EVERY)
ONE_SET = {name: images for name, images in EVERY.items() if images.gallery is None}
one_set = pytest.mark.parametrize("images", ONE_SET.values(), ids=ONE_SET)
