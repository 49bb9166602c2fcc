"""Stored embeddings, read block by block into the parts of a split, and what is odd about them."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.datasets.files.scratch import room
from bench.datasets.files.vectors_file import LARGEST, Vectors, as_floats, usable
from bench.datasets.split import DataError

__all__ = ["ReadVectors", "read_parts"]


class ReadVectors(NamedTuple):
    """What was read."""

    vectors: list[NDArray[np.float32]]
    """Of each part, [n, width], in the order of the file."""
    hashes: NDArray[np.uint64]
    """[N], of each row of the file; equal rows have equal ones. 0 where a row is left out."""
    notes: dict[str, str]


def read_parts(file: Path, stored: Vectors, places: NDArray[np.int8], *, count: int) -> ReadVectors:
    """The embeddings of each part as float32; above 1 GB kept on disk, see `scratch.room`.

    Args:
        file: for sentences.
        stored: what is in it.
        places: [N], the number of each row's part, 0 .. count - 1; -1 where it is left out.
        count: how many parts there are.

    Raises:
        DataError: the file cannot be read, or a row is not finite; there is no place on the disk.
    """
    vectors = [room((int((places == part).sum()), stored.width), np.float32) for part in range(count)]
    hashes, seen, ends, start = np.zeros(stored.rows, np.uint64), _Seen(stored.width), [0] * count, 0
    for block in stored.blocks():
        points = as_floats(block)
        own = places[start : start + len(points)]
        seen.unusable(start + np.flatnonzero(~usable(points)))
        if not seen.bad:
            for part, array in enumerate(vectors):
                chosen = points[own == part]
                array[ends[part] : ends[part] + len(chosen)] = chosen
                ends[part] += len(chosen)
            rows = start + np.flatnonzero(own >= 0)
            small = points[own >= 0].astype(np.float32, copy=False)
            hashes[rows] = _hashes(small)
            seen.look(small, rows)
        start += len(points)
    seen.refuse(file)
    return ReadVectors(vectors, hashes, seen.notes())


class _Seen:
    """Counts over the blocks."""

    def __init__(self, width: int) -> None:
        self.bad: list[int] = []
        self.zeros: list[int] = []
        self.low = np.full(width, np.inf, np.float32)
        self.high = -self.low

    def unusable(self, rows: Iterable[int]) -> None:
        self.bad.extend(rows)

    def look(self, points: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        if len(points):
            self.zeros.extend(rows[~points.any(axis=1)].tolist())
            np.minimum(self.low, points.min(axis=0), out=self.low)
            np.maximum(self.high, points.max(axis=0), out=self.high)

    def refuse(self, file: Path) -> None:
        if self.bad:
            raise DataError(
                f"{file} holds NaN, infinity or values beyond {LARGEST:.0e} in {len(self.bad):,} row(s), such as row "
                f"{self.bad[0] + 1:,}: embed those images anew, or leave them out."
            )

    def notes(self) -> dict[str, str]:
        constant = np.flatnonzero(self.low == self.high)
        said = {
            "zeros": f"{len(self.zeros):,} embedding(s) are all zeros, such as row {self.zeros[0] + 1:,}"
            if self.zeros
            else "",
            "constant": f"{len(constant):,} of {len(self.low):,} dimension(s) are the same in every embedding, such as "
            f"number {constant[0] + 1:,}"
            if len(constant)
            else "",
        }
        return {key: note for key, note in said.items() if note}


def _hashes(points: NDArray[np.float32]) -> NDArray[np.uint64]:
    """64 bits per row: of a million different rows, two are taken for equal with a probability of 3 in 10^8."""
    digests = (hashlib.blake2b(row, digest_size=8).digest() for row in np.ascontiguousarray(points))
    return np.frombuffer(b"".join(digests), np.uint64)
