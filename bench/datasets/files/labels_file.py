"""Labels from a file that any tool can write: .npy, .npz, .parquet, .csv, .txt."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.datasets.files.array_file import npy, npz, one_of, parquet, read, without_nulls
from bench.datasets.files.columns import read_columns
from bench.datasets.split import DataError

__all__ = ["LABELS", "as_labels", "as_text", "read_labels"]

LABELS = ("labels", "label")
"""Names of arrays and columns."""
HEADINGS = (*LABELS, "target", "targets", "class", "classes", "category", "y")
"""First lines of a single column that are no label, unless they stand again below."""


def read_labels(file: Path) -> NDArray[np.str_]:
    """One label per row [N], as text: a whole number reads the same whether a file stores it as a number or as text.

    .npy, .npz (one array, or `labels`), .parquet (one column, or `label` or `labels`), .csv (the column `label`, or a
    single column without a head), .txt (one label per line, in UTF-8).

    Raises:
        DataError: there is no such file, it cannot be read, or it holds no labels.
    """
    readers = {".npy": npy, ".npz": _npz_labels, ".parquet": _parquet_labels, ".csv": _csv_labels, ".txt": _lines}
    return as_labels(file, read(file, readers))


def as_labels(file: Path, labels: NDArray[Any]) -> NDArray[np.str_]:
    """Labels of any type as text, none of them empty.

    Raises:
        DataError: they are no labels.
    """
    text = as_text(file, labels)
    if (text == "").any():
        raise DataError(f"{file} has no label in row {int((text == '').argmax()) + 1:,}: fill it in.")
    return text


def as_text(file: Path, labels: NDArray[Any]) -> NDArray[np.str_]:
    """The same, but some may be empty."""
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim != 1 or not labels.size:
        raise DataError(f"{file} holds labels of shape {labels.shape}: store one label per row.")
    if labels.dtype.kind == "f":
        if not (np.isfinite(labels).all() and (labels == np.round(labels)).all()):
            raise DataError(f"{file} holds labels that are no whole numbers: store one class per row.")
        labels = labels.astype(np.int64)
    if labels.dtype.kind == "S":
        try:
            labels = np.char.decode(labels, "utf-8")
        except UnicodeDecodeError:
            raise DataError(f"{file} holds labels of bytes that are not UTF-8: store them as text.") from None
    if labels.dtype.kind not in "iubU":
        raise DataError(f"{file} holds labels of {labels.dtype}: store text or whole numbers.")
    return np.char.strip(labels.astype(np.str_))


def _npz_labels(file: Path) -> NDArray[Any]:
    return np.asarray(one_of(file, npz(file), LABELS))


def _parquet_labels(file: Path) -> NDArray[Any]:
    table = parquet(file)
    chosen = one_of(file, {name: table[name] for name in table.column_names}, LABELS)
    return np.asarray(without_nulls(file, chosen).to_pylist())


def _csv_labels(file: Path) -> NDArray[Any]:
    rows = [row for row in _decoded(file).splitlines() if row.strip()]
    head = [name.strip().strip('"') for name in rows[0].replace(";", ",").replace("\t", ",").split(",")] if rows else []
    if "label" in head:
        return np.asarray(read_columns(file, ["label"])["label"])
    if len(head) != 1:
        raise DataError(f"{file} has several columns and none is named label: name it in the first line.")
    lines = _lines(file)
    # Where this is wrong there is a label too few, which is refused; a heading among the labels would be scored.
    heading = len(lines) and lines[0].lower() in HEADINGS and lines[0] not in lines[1:]
    return lines[1:] if heading else lines


def _lines(file: Path) -> NDArray[Any]:
    return np.asarray([line.strip().strip('"') for line in _decoded(file).splitlines() if line.strip()])


def _decoded(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8: save it in that encoding.") from error
