"""Embeddings in a .npy, .npz or Parquet file: which array or columns hold them, opened to be read block by block."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.datasets.files.array_file import (
    first,
    in_one_sentence,
    npy,
    npz,
    one_of,
    read,
    verify_names,
    without_nulls,
)
from bench.datasets.files.columns import Columns, read_columns
from bench.datasets.files.labels_file import LABELS, as_labels, as_text
from bench.datasets.files.wide_table import Dimensions, dimensions
from bench.datasets.split import DataError

__all__ = [
    "LARGEST",
    "VECTORS",
    "Vectors",
    "as_floats",
    "from_table",
    "open_vectors",
    "usable",
    "vector_columns",
    "verify_kind",
]

VECTORS = ("embeddings", "embedding")
"""Names of arrays and columns."""
LARGEST = 1e15
"""Beyond it squares leave the range of single precision, in which neighbours are searched."""
BESIDE = {
    "split": ("split", "splits"),
    "role": ("role", "roles"),
    "class_name": ("class_name", "class_names"),
    "text": ("text", "texts"),
}
"""What may stand beside the labels -> its names as an array; as a column it has the first."""
BLOCK_BYTES = 16 * 2**20
BATCH = 4096
BUFFER_BYTES = 2**16
"""Of each column that is read: a wide table has hundreds."""


class Vectors(NamedTuple):
    """Embeddings in a file, not read yet; they may be larger than memory, but for those of an .npz."""

    rows: int
    width: int
    blocks: Callable[[], Iterator[NDArray[Any]]]
    """Reads them: consecutive rows [n, width], as they are stored. What it raises is a DataError."""
    columns: Callable[[], Columns] | None = None
    """Reads what the file says of each row, "label" and perhaps those of BESIDE; None where it holds no labels."""
    table: Dimensions | None = None
    """Which columns of a wide table are the dimensions, and which are not."""


def open_vectors(file: Path) -> Vectors:
    """The embeddings of a .npy, .npz or .parquet file, in the forms that `bench evaluate` reads.

    Raises:
        DataError: there is no such file, it cannot be read, or it holds no matrix of numbers.
    """
    return read(file, {".npy": _npy, ".npz": _npz, ".parquet": _parquet})


def verify_kind(file: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Refuse what is no matrix of real numbers.

    Raises:
        DataError: it is none, or its numbers are bits of another type.
    """
    if dtype == np.uint16:
        raise DataError(f"{file} holds uint16, as bfloat16 is often saved, not its numbers: save it as float32.")
    if dtype.kind not in "fiu":
        raise DataError(f"{file} holds {dtype}, not numbers: store one row of real numbers per image.")
    if len(shape) != 2 or 0 in shape:
        raise DataError(f"{file} holds an array of shape {shape}: store a matrix [images, dim].")


def as_floats(points: NDArray[Any]) -> NDArray[np.floating]:
    """The same numbers, as float32 or, where that could lose digits or overflow, as float64."""
    wide = points.dtype.kind in "iu" or points.dtype.itemsize > 4
    return np.ascontiguousarray(points, dtype=np.float64 if wide else np.float32)


def usable(points: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which rows [N, dim] are finite, and in the range that neighbours can be searched in."""
    fits: NDArray[np.bool_] = np.abs(points).max(axis=1) <= LARGEST
    return fits


def vector_columns(file: Path, schema: Any, *, beside: Collection[str] = LABELS) -> str | Dimensions:
    """The column of lists of a table with this pyarrow schema, else its float columns but for those named `beside`.

    Raises:
        DataError: there are none, or other columns may be the embedding.
    """
    name = first({name: name for name in schema.names if name in VECTORS}, VECTORS)
    return name or dimensions(file, {field.name: field.type for field in schema if field.name not in beside})


def from_table(file: Path, table: Any, chosen: str | Dimensions) -> NDArray[Any]:
    """The matrix [rows, dim] of a pyarrow table.

    Raises:
        DataError: a value is missing, or embeddings differ in length.
    """
    if isinstance(chosen, str):
        return _from_lists(file, table[chosen])
    return np.stack([without_nulls(file, table[name]).to_numpy() for name in chosen.used], axis=1)


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


def _npy(file: Path) -> Vectors:
    return _of_array(file, npy(file, mapped=True), lambda: npy(file, mapped=True))


def _npz(file: Path) -> Vectors:
    arrays = npz(file)
    labels = first(arrays, LABELS)
    known = {*LABELS, *(name for names in BESIDE.values() for name in names)}
    points = one_of(file, {name: array for name, array in arrays.items() if name not in known}, VECTORS)
    found = _of_array(file, points, lambda: points)
    if labels is None:
        return found
    others = {name: array for name, names in BESIDE.items() if (array := first(arrays, names)) is not None}
    return found._replace(columns=lambda: _texts(file, labels, others))


def _texts(file: Path, labels: NDArray[Any], others: dict[str, NDArray[Any]]) -> Columns:
    texts = {"label": as_labels(file, labels), **{name: as_text(file, array) for name, array in others.items()}}
    for name, values in texts.items():
        if len(values) != len(texts["label"]):
            raise DataError(
                f"{file} holds {len(texts['label']):,} labels, but {len(values):,} of {name}: store one per embedding."
            )
    return {name: values.tolist() for name, values in texts.items()}


def _of_array(file: Path, points: NDArray[Any], opened: Callable[[], NDArray[Any]]) -> Vectors:
    """What is opened anew for each block is not held in memory after it."""
    verify_kind(file, points.dtype, points.shape)
    (rows, width), step = points.shape, max(1, BLOCK_BYTES // points[:1].nbytes)

    def blocks() -> Iterator[NDArray[Any]]:
        with in_one_sentence(file):
            for start in range(0, rows, step):
                yield opened()[start : start + step]

    return Vectors(rows, width, blocks)


def _parquet(file: Path) -> Vectors:
    from pyarrow.parquet import ParquetFile  # slow to import, and an array needs none of it

    with ParquetFile(file) as opened:
        schema, rows = opened.schema_arrow, opened.metadata.num_rows
    if not rows:
        raise DataError(f"{file} has no rows: store one row per embedding.")
    verify_names(file, schema.names)
    chosen = vector_columns(file, schema, beside=(*LABELS, *BESIDE))
    width = next(_batches(file, chosen, 1)).shape[1]

    def blocks() -> Iterator[NDArray[Any]]:
        for block in _batches(file, chosen, BATCH):
            if block.shape[1] != width:
                raise DataError(f"{file} has embeddings of different lengths, {width} and {block.shape[1]}: store one.")
            yield block

    label = next((name for name in ("label", "labels") if name in map(str.lower, schema.names)), None)
    columns = None if label is None else lambda: _beside(file, label)
    return Vectors(rows, width, blocks, columns, None if isinstance(chosen, str) else chosen)


def _beside(file: Path, label: str) -> Columns:
    columns = read_columns(file, (label,), tuple(BESIDE))
    return {"label": columns.pop(label), **columns}


def _batches(file: Path, chosen: str | Dimensions, rows: int) -> Iterator[NDArray[Any]]:
    """Rows of the matrix, checked; without buffering ahead, which would hold the whole of a row group."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    names = [chosen] if isinstance(chosen, str) else list(chosen.used)
    with in_one_sentence(file), ParquetFile(file, pre_buffer=False, buffer_size=BUFFER_BYTES) as opened:
        for batch in opened.iter_batches(batch_size=rows, columns=names):
            points = from_table(file, pa.Table.from_batches([batch]), chosen)
            verify_kind(file, points.dtype, points.shape)
            yield points
