"""Anybody's classes: those with enough pictures are numbered, the others are left out."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.datasets.files.decode import compact
from bench.datasets.files.wording import some
from bench.datasets.split import DataError

__all__ = ["kept", "numbered", "refuse_shared"]

SIDES = ("train", "test")


def refuse_shared(place: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Refuse a class that both trains and tests.

    Args:
        place: what the sentence of the error calls the set.
        rows: label and part of each picture, once or more often.

    Raises:
        DataError: there is one.
    """
    pairs = set(rows)
    train = {label for label, part in pairs if part == "train"}
    both = sorted(train.intersection(label for label, part in pairs if part != "train"))
    if both:
        raise DataError(
            f"{place} has {some(both)} in both train and test, where no class may be: keep each on one side."
        )


def kept(
    place: Path, labels: Mapping[str, Iterable[str]], *, order: Sequence[str], least: int, of: str = "pictures"
) -> dict[str, list[str]]:
    """Part -> its labels with enough pictures, in their order.

    Of query and gallery a label with a picture on both is kept, and one of the gallery alone too, as a distractor;
    distractors come last, so that both parts number the labels that they share alike.

    Args:
        place: what the sentence of the error calls the set.
        labels: part ("train", "test" and perhaps "gallery") -> the label of each of its pictures.
        order: all labels, in the order of the classes.
        least: that many pictures are enough, on a side without a gallery.
        of: what the sentence calls them.

    Raises:
        DataError: fewer than two labels are kept on one side.
    """
    counts = {part: Counter(found) for part, found in labels.items()}
    enough = {side: [label for label in order if counts[side][label] >= least] for side in SIDES}
    if "gallery" in counts:
        gallery = [label for label in order if counts["gallery"][label]]
        enough["test"] = [label for label in gallery if counts["test"][label]]
        enough["gallery"] = enough["test"] + [label for label in gallery if not counts["test"][label]]
    for side in SIDES:
        if len(enough[side]) < 2:
            raise DataError(
                f"{place} has {len(enough[side])} {side} class(es) with enough {of} ({least}): two are needed on "
                f"either side, so add classes or {of}."
            )
    return enough


def numbered(
    images: NDArray[np.uint8], labels: Iterable[str], *, classes: Sequence[str]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The pictures of the classes kept, in the same array, and the number of each one's class."""
    numbers = {label: number for number, label in enumerate(classes)}
    found = np.array([numbers.get(label, -1) for label in labels], np.int64)
    return compact(images, found >= 0), found[found >= 0]
