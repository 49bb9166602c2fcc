"""Embeddings from a file that any tool can write: .npy, .npz, .parquet, or the folder of a job of `bench run`."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.datasets.files.array_file import first, npy, npz, one_of, parquet, read, without_nulls
from bench.datasets.files.labels_file import LABELS, as_labels
from bench.datasets.files.there import is_folder
from bench.datasets.files.vectors_file import (
    LARGEST,
    VECTORS,
    as_floats,
    from_table,
    usable,
    vector_columns,
    verify_kind,
)
from bench.datasets.files.wide_table import Dimensions
from bench.datasets.split import DataError
from losses.ensembles import Distance

__all__ = ["FileEmbeddings", "read_embeddings"]


class FileEmbeddings(NamedTuple):
    """What a file of embeddings holds."""

    points: NDArray[np.floating]
    """[N, dim], float32 or float64, finite."""
    labels: NDArray[np.str_] | None
    """[N], as text; None where the file holds none."""
    queries: int
    """How many of the first rows are queries; the rest is their gallery. N but in a job folder of a set with one."""
    distance: Distance = "euclidean"
    """By which those of a job are compared."""
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
    row = _row(file)
    queries = len(points) if row is None else _queries(file, len(points))
    distance: Distance = (row or {}).get("distance") or "euclidean"
    return FileEmbeddings(points, labels, queries, distance, found.table)


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
    chosen = vector_columns(file, table.schema)
    return _Found(from_table(file, table, chosen), labels, None if isinstance(chosen, str) else chosen)


def _matrix(file: Path, points: NDArray[Any]) -> NDArray[np.floating]:
    verify_kind(file, points.dtype, points.shape)
    points = as_floats(points)
    bad = ~usable(points)
    if bad.any():
        raise DataError(
            f"{file} holds NaN, infinity or values beyond {LARGEST:.0e} in {bad.sum():,} row(s), such as row "
            f"{bad.argmax() + 1:,}: embed those images anew."
        )
    return points


def _queries(file: Path, rows: int) -> int:
    """Of a job's folder, where the gallery is stored below the queries."""
    beside = file.with_name("queries.parquet")
    if not beside.is_file():
        return rows
    queries: int = read(beside, {".parquet": parquet}).num_rows
    if not 0 < queries <= rows:
        raise DataError(f"{beside} has {queries:,} queries, {file.name} beside it {rows:,} rows: run that job anew.")
    return queries


def _row(file: Path) -> dict[str, Any] | None:
    """What the row beside the embeddings of a job says of their distance; None where no job left the folder."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    if file.name != "embeddings.npy":
        return None
    try:
        with ParquetFile(file.parent / "row.parquet") as row:
            if not {"key", "protocol", "status"} <= set(row.schema_arrow.names):
                return None
            return next(iter(row.read(["distance"]).to_pylist()), {})
    except (OSError, pa.ArrowException, UnicodeDecodeError):
        return None
