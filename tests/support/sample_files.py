"""Embeddings and labels in every kind of file that is read."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet


def sample(rows: int = 40, *, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    rng = np.random.default_rng(seed)
    classes = np.arange(rows) % 5
    points = np.random.default_rng(99).normal(size=(5, 4))[classes] + rng.normal(size=(rows, 4))
    return points.astype(np.float32), np.array(["cat", "dog", "cow", "naïve cow", "42"])[classes]


def saved(place: Path, array: Any) -> Path:
    np.save(place, array)
    return place


def write_table(place: Path, **columns: Any) -> Path:
    parquet.write_table(pa.table(columns), place)
    return place


def npy(place: Path, points: NDArray[np.float32], labels: NDArray[np.str_]) -> tuple[Path, Path]:
    return saved(place / "x.npy", points), saved(place / "y.npy", labels)


def npz(place: Path, points: NDArray[np.float32], labels: NDArray[np.str_]) -> tuple[Path]:
    np.savez(place / "x.npz", embeddings=points, labels=labels, other=np.zeros(3))
    return (place / "x.npz",)


def npz_of_one_array(place: Path, points: NDArray[np.float32], labels: NDArray[np.str_]) -> tuple[Path, Path]:
    np.savez(place / "x.npz", points)
    np.savez(place / "y.npz", labels)
    return place / "x.npz", place / "y.npz"


def lists(place: Path, points: NDArray[np.float32], labels: NDArray[np.str_]) -> tuple[Path]:
    return (
        write_table(place / "x.parquet", embedding=points.tolist(), label=labels.tolist(), path=["a"] * len(labels)),
    )


def fixed_lists(place: Path, points: NDArray[np.float32], labels: NDArray[np.str_]) -> tuple[Path, Path]:
    column = pa.FixedSizeListArray.from_arrays(pa.array(points.ravel()), points.shape[1])
    chunked = pa.chunked_array([column[:7], column[7:]])
    return write_table(place / "x.parquet", embeddings=chunked), write_table(place / "y.parquet", kind=labels.tolist())


def columns(place: Path, points: NDArray[np.float32], labels: NDArray[np.str_]) -> tuple[Path]:
    numbers = {f"x{i}": column for i, column in enumerate(points.T)}
    return (write_table(place / "x.parquet", **numbers, labels=labels.tolist(), file=["a"] * len(labels)),)


def lines(place: Path, points: NDArray[np.float32], labels: NDArray[np.str_]) -> tuple[Path, Path]:
    (place / "y.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    return saved(place / "x.npy", points), place / "y.txt"


def table(place: Path, points: NDArray[np.float32], labels: NDArray[np.str_]) -> tuple[Path, Path]:
    with (place / "y.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["path", "label"], *[(f"{i}.png", label) for i, label in enumerate(labels)]])
    return saved(place / "x.npy", points), place / "y.csv"


def bare_column(place: Path, points: NDArray[np.float32], labels: NDArray[np.str_]) -> tuple[Path, Path]:
    lines(place, points, labels)[1].rename(place / "y.csv")
    return place / "x.npy", place / "y.csv"


def folder(place: Path, points: NDArray[np.float32], labels: NDArray[np.str_]) -> tuple[Path, Path]:
    """Of a job whose set has no gallery."""
    npy(place, points, labels)[0].rename(place / "embeddings.npy")
    write_table(place / "row.parquet", key=[place.name], protocol=[1], status=["done"])
    write_table(place / "queries.parquet", first_hit=[1] * len(labels))
    return place, place / "y.npy"


WAYS = [npy, npz, npz_of_one_array, lists, fixed_lists, columns, lines, table, bare_column, folder]


def spoilt(points: NDArray[np.float32], value: float) -> NDArray[np.float32]:
    points[3, 1] = value
    return points
