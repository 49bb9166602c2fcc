"""The split that a plugin's dataset returns, checked as closely as our own are tested."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.datasets.files.cache import digest
from bench.datasets.split import DataError, Images, Split
from bench.matrix.catalogue import Entry
from bench.matrix.plugin_file import PluginError
from bench.matrix.plugin_import import failure

__all__ = ["of_plugin", "split_of"]

LAYOUTS = ((4, np.dtype(np.uint8)), (2, np.dtype(np.float32)))
"""Dimensions and type of pictures, and of vectors."""


def split_of(entry: Entry, data: Path | None, parameters: Mapping[str, Any]) -> Split:
    """The split of a dataset, ours or a plugin's; raises DataError and PluginError as `of_plugin`."""
    if entry.plugin:
        return of_plugin(entry, data, parameters)
    split: Split = entry.function()(data, **parameters)
    return split


def of_plugin(entry: Entry, data: Path | None, parameters: Mapping[str, Any]) -> Split:
    """Call a plugin's dataset; the hash over all images is taken here where the split has none.

    Raises:
        DataError: it fails, or what it returns is no split with both sides; one sentence says what is wrong.
        PluginError: it cannot be imported.
    """
    build, shown = entry.function(), f"{entry.name} of {entry.source}"
    try:
        split: Split = build(data, **parameters)
    except (DataError, PluginError, OSError):
        raise
    except Exception as error:  # a plugin raises whatever it likes
        raise DataError(f"{shown} fails ({failure(error, entry.plugin)}): mend it") from None
    if wrong := next(_wrong(split), None):
        raise DataError(f"{shown}: {wrong}")
    return split if split.sha else split._replace(sha=digest(split))


def _wrong(split: Any) -> Iterator[str]:
    if not isinstance(split, Split):
        yield f"it returns {type(split).__name__}: return a Split of bench.datasets.split"
        return
    for side in ("train", "test", *(["gallery"] if split.gallery is not None else [])):
        yield from (f"{side}: {sentence}" for sentence in _wrong_side(getattr(split, side), whole=side != "gallery"))
    sides = [split.train, split.test, *([split.gallery] if split.gallery is not None else [])]
    if len({side.images.shape[1:] if side.images.ndim == 2 else side.images.ndim for side in sides}) > 1:
        yield "its sides differ: give pictures on all of them, or vectors of one width"
    if shared := sorted(set(split.train.classes) & set(split.test.classes)):
        yield f"{shared[0]!r} is a class of both sides: no test class may be trained on"


def _wrong_side(side: Any, *, whole: bool) -> Iterator[str]:
    """What is no `Images`; only of a whole side must every class have an image."""
    if not isinstance(side, Images):
        yield f"it is {type(side).__name__}: give Images of bench.datasets.split"
        return
    pictures, labels, known = side.images, side.labels, set(range(len(side.classes)))
    if not isinstance(pictures, np.ndarray) or (pictures.ndim, pictures.dtype) not in LAYOUTS:
        yield "images must be a NumPy array, uint8 [N, height, width, channels], or vectors, float32 [N, width]"
    elif pictures.ndim == 2 and not np.isfinite(pictures).all():
        yield "vectors must be finite: leave out those that are not"
    elif not isinstance(labels, np.ndarray) or labels.shape != pictures.shape[:1] or labels.dtype != np.int64:
        yield f"labels must be a NumPy array, int64 [{len(pictures)}]: one per image"
    elif not (set(labels.tolist()) == known if whole else set(labels.tolist()) <= known):
        yield f"labels must be the numbers from 0 to {len(known) - 1}, one for each class, all with an image"
    elif side.texts is not None and len(side.texts) != len(side.classes):
        yield f"texts must be as many as the classes, {len(side.classes)}"
