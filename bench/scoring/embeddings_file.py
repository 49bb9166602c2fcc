"""Embeddings from a file that any tool can write: .npy, .npz, .parquet, or the folder of a job of `bench run`."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.datasets.reading.there import is_folder
from bench.datasets.split import DataError
from bench.scoring.array_file import first, npy, npz, one_of, parquet, read, without_nulls
from bench.scoring.labels_file import LABELS, as_labels
from bench.scoring.wide_table import Dimensions, dimensions

__all__ = ["FileEmbeddings", "read_embeddings"]

VECTORS = ("embeddings", "embedding")
"""Names of arrays and columns."""
LARGEST = 1e15
"""Beyond it squares leave the range of single precision, in which neighbours are searched."""


class FileEmbeddings(NamedTuple):
    """What a file of embeddings holds."""

    points: NDArray[np.floating]
    """[N, dim], float32 or float64, finite."""
    labels: NDArray[np.str_] | None
    """[N], as text; None where the file holds none."""
    queries: int
    """How many of the first rows are queries; the rest is their gallery. N but in a job folder of a set with one."""
    table: Dimensions | None = None
    """Which columns of a wide table were taken as dimensions, and which were not."""


def read_embeddings(file: Path) -> FileEmbeddings:
    """The embeddings of a file, or of the folder of a job of `bench run`, with the labels that lie beside them.

    .npy: a matrix [N, dim]. .npz: one array, or `embeddings` and, if it is there, `labels`. .parquet: a column of
    lists `embedding` or `embeddings`, or else one float column per dimension, and if it is there a column `label` or
    `labels`.

    Raises:
        DataError: there is no such file, it cannot be read, what it holds is no finite matrix, or it can be understood
            in several ways.
    """
    file = file / "embeddings.npy" if is_folder(file) else file
    found = read(file, {".npy": _npy_vectors, ".npz": _npz_vectors, ".parquet": _parquet_vectors})
    points = _matrix(file, found.points)
    labels = None if found.labels is None else as_labels(file, found.labels)
    if labels is not None and len(labels) != len(points):
        raise DataError(f"{file} holds {len(points):,} embeddings but {len(labels):,} labels: store one label per row.")
    return FileEmbeddings(points, labels, _queries(file, len(points)), found.table)


class _Found(NamedTuple):
    points: NDArray[Any]
    labels: NDArray[Any] | None = None
    table: Dimensions | None = None


def _npy_vectors(file: Path) -> _Found:
    return _Found(npy(file))


def _npz_vectors(file: Path) -> _Found:
    arrays = npz(file)
    rest = {name: array for name, array in arrays.items() if name not in LABELS}
    return _Found(one_of(file, rest, VECTORS), first(arrays, LABELS))


def _parquet_vectors(file: Path) -> _Found:
    table = parquet(file)
    names = first({name: name for name in table.column_names}, LABELS)
    labels = None if names is None else np.asarray(without_nulls(file, table[names]).to_pylist())
    lists = first({name: table[name] for name in table.column_names if name in VECTORS}, VECTORS)
    if lists is not None:
        return _Found(_from_lists(file, lists), labels)
    chosen = dimensions(file, {field.name: field.type for field in table.schema if field.name not in LABELS})
    points = [without_nulls(file, table[name]).to_numpy() for name in chosen.used]
    return _Found(np.stack(points, axis=1), labels, chosen)


def _from_lists(file: Path, column: Any) -> NDArray[Any]:
    import pyarrow as pa
    from pyarrow import compute

    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if not any(kind(column.type) for kind in lists):
        raise DataError(f"{file} has a column 'embedding' of {column.type}: make it a list of numbers in each row.")
    widths = compute.unique(compute.list_value_length(without_nulls(file, column))).to_pylist()
    if len(widths) != 1:
        raise DataError(f"{file} has embeddings of {len(widths)} different lengths: store one length.")
    numbers = without_nulls(file, compute.list_flatten(column))
    return np.asarray(numbers.to_numpy()).reshape(len(column), widths[0])


def _matrix(file: Path, points: NDArray[Any]) -> NDArray[np.floating]:
    if points.dtype == np.uint16:
        raise DataError(f"{file} holds uint16, as bfloat16 is often saved, not its numbers: save it as float32.")
    if points.dtype.kind not in "fiu":
        raise DataError(f"{file} holds {points.dtype}, not numbers: store one row of real numbers per image.")
    if points.ndim != 2 or not points.size:
        raise DataError(f"{file} holds an array of shape {points.shape}: store a matrix [images, dim].")
    wide = points.dtype.kind in "iu" or points.dtype.itemsize > 4
    points = np.ascontiguousarray(points, dtype=np.float64 if wide else np.float32)
    bad = ~(np.abs(points).max(axis=1) <= LARGEST)
    if bad.any():
        raise DataError(
            f"{file} holds NaN, infinity or values beyond {LARGEST:.0e} in {bad.sum():,} row(s), such as row "
            f"{bad.argmax() + 1:,}: embed those images anew."
        )
    return points


def _queries(file: Path, rows: int) -> int:
    """Of a job's folder, where the gallery is stored below the queries; what merely lies beside does not count."""
    beside = file.with_name("queries.parquet")
    if file.name != "embeddings.npy" or not beside.is_file() or not _of_a_job(file.parent):
        return rows
    queries: int = read(beside, {".parquet": parquet}).num_rows
    if not 0 < queries <= rows:
        raise DataError(f"{beside} has {queries:,} queries, {file.name} beside it {rows:,} rows: run that job anew.")
    return queries


def _of_a_job(folder: Path) -> bool:
    """Whether `bench run` wrote the folder: its row names a key."""
    import pyarrow as pa
    from pyarrow.parquet import read_schema

    try:
        return {"key", "protocol", "status"} <= set(read_schema(folder / "row.parquet").names)
    except (OSError, pa.ArrowException, UnicodeDecodeError):
        return False
