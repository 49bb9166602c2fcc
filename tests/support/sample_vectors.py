"""Stored embeddings of ten classes, in every form that makes a dataset."""

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import parquet
from support.sample_embeddings import sample

from bench.datasets.embeddings import embeddings
from bench.datasets.split import DataError

Columns = dict[str, list[Any]]


def data() -> tuple[NDArray[np.float32], Columns]:
    """120 vectors of 8, of ten classes, five on each side."""
    points, labels = sample()
    return points, {"label": labels.tolist(), "split": ["train" if one < 5 else "test" for one in labels]}


def with_roles(columns: Columns) -> Columns:
    places = [sum(own == label for own in columns["label"][:row]) for row, label in enumerate(columns["label"])]
    roles = [
        "" if side == "train" else ("query", "gallery")[place % 2]
        for side, place in zip(columns["split"], places, strict=True)
    ]
    return {**columns, "role": roles}


def table(place: Path, columns: Columns) -> Path:
    with place.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([list(columns), *zip(*columns.values(), strict=True)])
    return place


def npy(root: Path, points: NDArray[Any], columns: Columns) -> str:
    np.save(root / "x.npy", points)
    table(root / "x.csv", columns)
    return "x.npy"


def npy_of_columns_first(root: Path, points: NDArray[Any], columns: Columns) -> str:
    return npy(root, np.asfortranarray(points), columns)


def npy_and_parquet(root: Path, points: NDArray[Any], columns: Columns) -> str:
    np.save(root / "x.npy", points)
    parquet.write_table(pa.table(columns), root / "x.parquet")
    return "x.npy"


def npz(root: Path, points: NDArray[Any], columns: Columns) -> str:
    named = {
        {"label": "labels", "role": "roles", "text": "texts"}.get(name, name): col for name, col in columns.items()
    }
    np.savez(root / "x.npz", embeddings=points, **{name: np.array(column) for name, column in named.items()})
    return "x.npz"


def lists(root: Path, points: NDArray[Any], columns: Columns) -> str:
    parquet.write_table(pa.table({"path": columns["label"], **columns, "embedding": list(points)}), root / "x.parquet")
    return "x.parquet"


def fixed_lists(root: Path, points: NDArray[Any], columns: Columns) -> str:
    column = pa.FixedSizeListArray.from_arrays(pa.array(points.ravel()), points.shape[1])
    parquet.write_table(pa.table({"embeddings": column, **columns}), root / "x.parquet", row_group_size=50)
    return "x.parquet"


def wide(root: Path, points: NDArray[Any], columns: Columns) -> str:
    numbers = {f"e{number}": column for number, column in enumerate(points.T)}
    columns = {"labels" if name == "label" else name: column for name, column in columns.items()}
    parquet.write_table(pa.table({**numbers, **columns}), root / "x.parquet", row_group_size=50)
    return "x.parquet"


WAYS = [npy, npy_of_columns_first, npy_and_parquet, npz, lists, fixed_lists, wide]


def refused(root: Path, path: str, sentence: str, **parameters: Any) -> None:
    with pytest.raises(DataError, match=re.escape(sentence)) as caught:
        embeddings(root, path=path, **parameters)
    assert "\n" not in str(caught.value)
