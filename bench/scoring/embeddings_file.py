"""Embeddings and labels from a file that any tool can write: .npy, .npz, .parquet, and labels also .csv and .txt."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.datasets.reading.columns import read_columns
from bench.datasets.split import DataError

__all__ = ["Stored", "read_embeddings", "read_labels"]

VECTORS, LABELS = ("embeddings", "embedding"), ("labels", "label")
"""Names of arrays and columns."""
LARGEST = 1e15
"""Beyond it squares leave the range of single precision, in which neighbours are searched."""


class Stored(NamedTuple):
    """What a file of embeddings holds."""

    points: NDArray[np.floating]
    """[N, dim], float32 or float64, finite."""
    labels: NDArray[np.str_] | None
    """[N], as text; None where the file holds none."""
    queries: int
    """How many of the first rows are queries; the rest is their gallery. N but in a job folder of a set with one."""


def read_embeddings(file: Path) -> Stored:
    """The embeddings of a file, or of the folder of a job of `bench run`, with the labels that lie beside them.

    .npy: a matrix [N, dim]. .npz: one array, or `embeddings` and, if it is there, `labels`. .parquet: a column of
    lists `embedding` or `embeddings`, or else every column of numbers, and if it is there a column `label` or `labels`.

    Raises:
        DataError: there is no such file, it cannot be read, or what it holds is no finite matrix.
    """
    file = file / "embeddings.npy" if file.is_dir() else file
    points, labels = _read(file, {".npy": _npy_vectors, ".npz": _npz_vectors, ".parquet": _parquet_vectors})
    points = _matrix(file, points)
    named = None if labels is None else _named(file, labels)
    if named is not None and len(named) != len(points):
        raise DataError(f"{file} holds {len(points):,} embeddings but {len(named):,} labels: store one label a row.")
    return Stored(points, named, _queries(file, len(points)))


def read_labels(file: Path) -> NDArray[np.str_]:
    """One label a row [N], as text: a whole number reads the same whether a file stores it as a number or as text.

    .npy, .npz (one array, or `labels`), .parquet (one column, or `label` or `labels`), .csv (the column `label`, or a
    single column without a head), .txt (a label a line, in UTF-8).

    Raises:
        DataError: there is no such file, it cannot be read, or it holds no labels.
    """
    readers = {".npy": _npy, ".npz": _npz_labels, ".parquet": _parquet_labels, ".csv": _csv_labels, ".txt": _lines}
    return _named(file, _read(file, readers))


def _read(file: Path, readers: Mapping[str, Callable[[Path], Any]]) -> Any:
    """What the reader for this kind of file makes of it, and its errors as sentences."""
    if file.suffix.lower() not in readers:
        raise DataError(f"{file} is none of {', '.join(readers)}: save it as one of them.")
    if not file.is_file():
        raise DataError(f"{file} is not there: check the path.")
    try:
        return readers[file.suffix.lower()](file)
    except DataError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{file} is no plain array, and pickled objects, which can run code, are not read: save it anew with "
                "numpy.save."
            ) from None
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise DataError(f"{file} cannot be read ({reason}): write it again.") from error


def _npy(file: Path) -> NDArray[Any]:
    found = np.load(file, allow_pickle=False)
    if not isinstance(found, np.ndarray):
        found.close()
        raise DataError(f"{file} is an archive of arrays: name it .npz.")
    return found


def _npy_vectors(file: Path) -> tuple[NDArray[Any], None]:
    return _npy(file), None


def _npz(file: Path) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(file), np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _npz_vectors(file: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    arrays = _npz(file)
    labels = _first(arrays, LABELS)
    rest = {name: array for name, array in arrays.items() if name not in LABELS}
    return _chosen(file, rest, VECTORS), labels


def _npz_labels(file: Path) -> NDArray[Any]:
    return np.asarray(_chosen(file, _npz(file), LABELS))


def _parquet(file: Path) -> Any:
    import pyarrow as pa  # slow to import, and most files need none of it
    from pyarrow import parquet

    try:
        return parquet.read_table(file)
    except pa.ArrowException as error:
        raise ValueError(*error.args) from error


def _parquet_vectors(file: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    import pyarrow as pa

    table = _parquet(file)
    columns = {name: table[name] for name in table.column_names}
    labels, lists = _first(columns, LABELS), _first(columns, VECTORS)
    if lists is not None:
        points = _from_lists(file, lists)
    else:
        kinds = {name: column for name, column in columns.items() if name not in LABELS}
        numbers = [c for c in kinds.values() if pa.types.is_floating(c.type) or pa.types.is_integer(c.type)]
        if not numbers:
            raise DataError(f"{file} has neither a column of lists 'embedding' nor columns of numbers: add them.")
        points = np.stack([_full(file, column).to_numpy() for column in numbers], axis=1)
    return points, None if labels is None else np.asarray(_full(file, labels).to_pylist())


def _parquet_labels(file: Path) -> NDArray[Any]:
    table = _parquet(file)
    chosen = _chosen(file, {name: table[name] for name in table.column_names}, LABELS)
    return np.asarray(_full(file, chosen).to_pylist())


def _full(file: Path, column: Any) -> Any:
    if column.null_count:
        raise DataError(f"{file} has {column.null_count:,} row(s) without a value: fill them in.")
    return column


def _from_lists(file: Path, column: Any) -> NDArray[Any]:
    import pyarrow as pa
    from pyarrow import compute

    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if not any(kind(column.type) for kind in lists):
        raise DataError(f"{file} has a column 'embedding' of {column.type}: make it a list of numbers a row.")
    widths = compute.unique(compute.list_value_length(_full(file, column))).to_pylist()
    if len(widths) != 1:
        raise DataError(f"{file} has embeddings of {len(widths)} different lengths: store one length.")
    numbers = _full(file, compute.list_flatten(column))
    return np.asarray(numbers.to_numpy()).reshape(len(column), widths[0])


def _csv_labels(file: Path) -> NDArray[Any]:
    rows = _text(file).lstrip().splitlines()
    head = [name.strip().strip('"') for name in rows[0].replace(";", ",").replace("\t", ",").split(",")] if rows else []
    if "label" in head:
        return np.asarray(read_columns(file, ["label"])["label"])
    if len(head) != 1:
        raise DataError(f"{file} has several columns and none is named label: name it in the first line.")
    return _lines(file)


def _lines(file: Path) -> NDArray[Any]:
    return np.asarray([line.strip().strip('"') for line in _text(file).splitlines() if line.strip()])


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8: save it in that encoding.") from error


def _first(arrays: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((arrays[name] for name in names if name in arrays), None)


def _chosen(file: Path, arrays: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The one of those names, or the only one there is."""
    found = _first(arrays, names)
    if found is None and len(arrays) != 1:
        raise DataError(f"{file} holds {', '.join(arrays) or 'nothing'}: name one of them {names[0]!r}.")
    return next(iter(arrays.values())) if found is None else found


def _matrix(file: Path, points: NDArray[Any]) -> NDArray[np.floating]:
    if points.dtype.kind not in "fiu":
        raise DataError(f"{file} holds {points.dtype}, not numbers: store one row of real numbers an image.")
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


def _named(file: Path, labels: NDArray[Any]) -> NDArray[np.str_]:
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim != 1 or not labels.size:
        raise DataError(f"{file} holds labels of shape {labels.shape}: store one label a row.")
    if labels.dtype.kind == "f":
        if not (np.isfinite(labels).all() and (labels == np.round(labels)).all()):
            raise DataError(f"{file} holds labels that are no whole numbers: store one class a row.")
        labels = labels.astype(np.int64)
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8")
    if labels.dtype.kind not in "iubU":
        raise DataError(f"{file} holds labels of {labels.dtype}: store text or whole numbers.")
    return np.char.strip(labels.astype(np.str_))


def _queries(file: Path, rows: int) -> int:
    """Of a job's folder, where the gallery is stored below the queries."""
    beside = file.with_name("queries.parquet")
    if file.name != "embeddings.npy" or not beside.is_file():
        return rows
    queries: int = _read(beside, {".parquet": _parquet}).num_rows
    if not 0 < queries <= rows:
        raise DataError(f"{beside} has {queries:,} queries, {file.name} beside it {rows:,} rows: run that job anew.")
    return queries
