"""The very same embedding in several rows: a query that finds its own copy is no retrieval."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["copies"]

TRAIN, TEST, GALLERY = range(3)


def copies(
    hashes: NDArray[np.uint64], places: NDArray[np.int8], codes: NDArray[np.int64], names: Sequence[str]
) -> dict[str, str]:
    """Notes on embeddings that are the same to the last bit: in query and gallery, on both sides, under two labels.

    Args:
        hashes: [N], equal where the embeddings are.
        places: [N], 0 for train, 1 for test, 2 for gallery, -1 where a row is left out and does not count.
        codes: [N], the number of each row's label.
        names: of the labels.
    """
    rows = np.flatnonzero(places >= 0)
    _, group, sizes = np.unique(hashes[rows], return_inverse=True, return_counts=True)
    rows, group = rows[sizes[group] > 1], group[sizes[group] > 1]
    if not len(rows):
        return {}
    part = places[rows]
    held = {one: np.isin(group, group[part == one]) for one in (TRAIN, TEST, GALLERY)}
    test, gallery = part == TEST, part == GALLERY
    found = {
        "in the gallery too": rows[test & held[GALLERY]],
        "among the training embeddings too": np.sort(rows[(test | gallery) & held[TRAIN]]),
        "there more than once": _further(rows[test & ~held[GALLERY]], group[test & ~held[GALLERY]]),
    }
    said = [f"{len(one):,} test embedding(s) {where}: row {one[0] + 1:,}" for where, one in found.items() if len(one)]
    notes = {"copies": "; ".join(said), "two labels": _two_labels(rows, group, codes[rows], names)}
    return {key: note for key, note in notes.items() if note}


def _further(rows: NDArray[np.int64], group: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows without the first one of each group."""
    _, firsts = np.unique(group, return_index=True)
    return np.delete(rows, firsts)


def _two_labels(
    rows: NDArray[np.int64], group: NDArray[np.int64], codes: NDArray[np.int64], names: Sequence[str]
) -> str:
    _, firsts, of_group = np.unique(group, return_index=True, return_inverse=True)
    unlike = np.flatnonzero(codes != codes[firsts][of_group])
    if not len(unlike):
        return ""
    other, one = unlike[0], firsts[of_group[unlike[0]]]
    return (
        f"{len(np.unique(of_group[unlike])):,} embedding(s) are there under more than one label: row "
        f"{rows[one] + 1:,} is {names[codes[one]]!r}, and row {rows[other] + 1:,} the same, {names[codes[other]]!r}"
    )
