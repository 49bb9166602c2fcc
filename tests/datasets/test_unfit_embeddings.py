"""Files of embeddings that make no split are refused, in one sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from support.sample_files import spoilt
from support.sample_sets import call
from support.sample_vectors import Columns, data, fixed_lists, lists, npy, npy_and_parquet, npz, refused, table, wide

from bench.datasets.embeddings import embeddings
from bench.datasets.files import vectors_file
from bench.datasets.split import DataError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("write", [npy, npz, lists, wide])
@pytest.mark.parametrize(("value", "count"), [(np.nan, 3), (np.inf, 3), (-np.inf, 3), (1e16, 3)])
def test_rows_that_are_not_finite_are_counted(
    tmp_path: Path, write: Callable[..., str], value: float, count: int
) -> None:
    points, columns = data()
    points[[17, 50, 119], 3] = value
    refused(tmp_path, write(tmp_path, points, columns), f"in {count} row(s), such as row 18: embed those images anew")
    assert not [place for place in (tmp_path / "cache").iterdir() if not place.name.startswith(".")]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"label": [0] * 120}, "has 0 in both train and test, where no class may be: keep each on one side"),
        ({"split": ["train"] * 120}, "has 0 test class(es) with enough embeddings (2): two are needed on either side"),
        ({"split": ["Train"] * 120}, "has 120 row(s) with split 'Train', not train or test"),
        ({"role": ["query"] * 120}, "gives all test rows the role query"),
        ({"text": [""] * 120}, "has no text for 10 label(s)"),
    ],
)
@pytest.mark.parametrize("write", [npy, npz, lists])
def test_columns_that_make_no_split_are_refused(
    tmp_path: Path, write: Callable[..., str], changes: Columns, sentence: str
) -> None:
    points, columns = data()
    refused(tmp_path, write(tmp_path, points, {**columns, **changes}), sentence)


def test_fewer_or_more_labels_than_embeddings_are_refused(tmp_path: Path) -> None:
    points, columns = data()
    sentence = "x.npy holds 119 embeddings, but x.csv 120 labels: give one label per embedding, in the same order"
    refused(tmp_path, npy(tmp_path, points[:-1], columns), sentence)
    refused(tmp_path, npz(tmp_path, points[:-1], columns), "holds 119 embeddings, but x.npz 120 labels")
    refused(
        tmp_path,
        npz(tmp_path, points, {**columns, "split": columns["split"][:-1]}),
        "holds 120 labels, but 119 of split: store one per embedding",
    )


def test_embeddings_without_labels_are_refused(tmp_path: Path) -> None:
    points, columns = data()
    np.save(tmp_path / "x.npy", points)
    refused(tmp_path, "x.npy", "x.npy has no labels: set table to a CSV or Parquet with a column label, one row per")
    np.savez(tmp_path / "y.npz", embeddings=points)
    refused(tmp_path, "y.npz", "y.npz has no labels: add them as 'label', or set table to")
    parquet.write_table(pa.table({"embedding": list(points)}), tmp_path / "z.parquet")
    refused(tmp_path, "z.parquet", "z.parquet has no labels: add them as 'label', or set table to")
    npy(tmp_path, points, columns)
    npy_and_parquet(tmp_path, points, columns)
    refused(tmp_path, "x.npy", "has x.csv and x.parquet beside it: set table to one of them")
    table(tmp_path / "y.csv", columns)
    assert embeddings(tmp_path, path="y.npz").notes["table"] == "y.csv"


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        ([[1.0, 2.0], [3.0], [4.0, 5.0]], "has embeddings of different lengths, 2 and 1: store one"),
        ([[1.0, 2.0], None, [4.0, 5.0]], "1 row(s) without a value"),
        ([[1.0, 2.0], [3.0, None], [4.0, 5.0]], "1 row(s) without a value"),
        (["a", "b", "c"], "make it a list"),
        ([["a"], ["b"], ["c"]], "not numbers"),
    ],
)
def test_columns_that_hold_no_embeddings_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: list[Any], sentence: str
) -> None:
    monkeypatch.setattr(vectors_file, "BATCH", 1)
    beside = {"label": [1, 2, 3, 4], "split": ["train", "train", "test", "test"]}
    parquet.write_table(pa.table({"embedding": [column[0], *column], **beside}), tmp_path / "x.parquet")
    refused(tmp_path, "x.parquet", sentence, min_images=1)


def test_files_that_hold_no_embeddings_are_refused(tmp_path: Path) -> None:
    points, columns = data()
    whole = (tmp_path / npy(tmp_path, points, columns)).read_bytes()
    refused(tmp_path, "none.npy", "none.npy is not a file: set path to the .npy, .npz or .parquet that holds the")
    with pytest.raises(DataError, match="needs an absolute path, or --data DIR"):
        embeddings(None, path="x.npy")
    refused(tmp_path, "x.csv", "x.csv is none of .npy, .npz, .parquet")
    for name, held in {"cut.npy": whole[:2000], "cut.npz": b"no archive", "cut.parquet": b"no table"}.items():
        (tmp_path / name).write_bytes(held)
        refused(tmp_path, name, "write it again")
    np.save(tmp_path / "x.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    refused(tmp_path, "x.npy", "pickled objects, which can run code, are not read")
    np.savez(tmp_path / "x.npz", embeddings=np.array([{}, []], dtype=object))
    refused(tmp_path, "x.npz", "pickled objects, which can run code, are not read")
    for array, sentence in (
        (points[0], "shape (8,)"),
        (points[None], "shape (1, 120, 8)"),
        (points[:0], "shape (0, 8)"),
        (points.view(np.uint16), "save it as float32"),
        (points.astype(complex), "not numbers"),
    ):
        refused(tmp_path, npy(tmp_path, array, columns), sentence)
    parquet.write_table(pa.table({"embedding": pa.array([], pa.list_(pa.float32()))}), tmp_path / "x.parquet")
    refused(tmp_path, "x.parquet", "x.parquet has no rows")


def test_damage_in_the_middle_of_a_parquet_is_a_sentence(tmp_path: Path) -> None:
    points, columns = data()
    file = tmp_path / fixed_lists(tmp_path, points, columns)
    held = bytearray(file.read_bytes())
    held[600:2600] = bytes(2000)
    file.write_bytes(held)
    refused(tmp_path, "x.parquet", "x.parquet cannot be read (")


def test_bench_data_verify_looks_for_no_pictures(tmp_path: Path) -> None:
    """Although a column names the pictures that were embedded, and they are not there."""
    points, columns = data()
    path = lists(tmp_path, spoilt(points, np.nan), columns)
    done = call("verify", "embeddings", "--set", f"path={path}", "--data", tmp_path)
    assert done.exit_code == 1
    assert "in 1 row(s), such as row 4" in done.stdout
    assert "picture" not in done.stdout
