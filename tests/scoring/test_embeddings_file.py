"""What is read of a file of embeddings or labels, and what is refused, in one sentence."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.sample_files import sample, saved, spoilt, write_table

from bench.datasets.split import DataError
from bench.scoring.embeddings_file import read_embeddings, read_labels


def refused(sentence: str, file: Path, *, labels: bool = False) -> None:
    with pytest.raises(DataError, match=re.escape(sentence)) as caught:
        read_labels(file) if labels else read_embeddings(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_number_is_the_same_label_however_it_is_stored(tmp_path: Path) -> None:
    (tmp_path / "y.txt").write_text("3\n10\n-1\n")
    for values in (
        np.array([3, 10, -1]),
        np.array([3.0, 10.0, -1.0]),
        np.array([[3], [10], [-1]]),
        np.array([b"3", b"10", b"-1"]),
    ):
        assert read_labels(saved(tmp_path / "y.npy", values)).tolist() == ["3", "10", "-1"]
    assert read_labels(tmp_path / "y.txt").tolist() == ["3", "10", "-1"]


@pytest.mark.parametrize(("given", "kept"), [("f2", "f4"), ("f4", "f4"), (">f4", "f4"), ("f8", "f8"), ("i4", "f8")])
def test_numbers_keep_their_digits(given: str, kept: str, tmp_path: Path) -> None:
    points = np.arange(6).reshape(3, 2).astype(given)
    found = read_embeddings(saved(tmp_path / "x.npy", np.asfortranarray(points))).points
    assert found.dtype == np.dtype(kept)
    assert np.array_equal(found, np.arange(6).reshape(3, 2))


@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        (sample()[0][:, 0], "shape (40,)"),
        (sample()[0][None], "shape (1, 40, 4)"),
        (np.zeros((40, 0)), "shape (40, 0)"),
        (spoilt(sample()[0], np.nan), "1 row(s), such as row 4"),
        (spoilt(sample()[0], np.inf), "NaN, infinity"),
        (spoilt(sample()[0], 1e20), "1e+15"),
        (sample()[0].astype(complex), "complex"),
        (sample()[1][:, None], "<U9"),
    ],
)
def test_what_is_no_matrix_of_embeddings_is_refused(points: Any, sentence: str, tmp_path: Path) -> None:
    refused(sentence, saved(tmp_path / "x.npy", points))


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.linspace(0, 1, 40), "no whole numbers"),
        (np.zeros((40, 2), int), "shape (40, 2)"),
        (np.zeros(40, complex), "complex"),
    ],
)
def test_what_are_no_labels_is_refused(labels: Any, sentence: str, tmp_path: Path) -> None:
    refused(sentence, saved(tmp_path / "y.npy", labels), labels=True)


def test_pickled_objects_are_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "o.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "o.npz", embeddings=np.array([{}, []], dtype=object))
    for name in ("o.npy", "o.npz"):
        refused("numpy.save", tmp_path / name)
        refused("numpy.save", tmp_path / name, labels=True)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    whole = saved(tmp_path / "x.npy", sample()[0]).read_bytes()
    refused("is not there", tmp_path / "none.npy")
    refused("is not there", tmp_path / "none.txt", labels=True)
    refused("is not there", tmp_path)
    refused("is none of .npy", tmp_path / "x.pt")
    for name, held in {"cut.npy": whole[:100], "cut.npz": b"no archive", "cut.parquet": b"no table"}.items():
        (tmp_path / name).write_bytes(held)
        refused("write it again", tmp_path / name)
        refused("write it again", tmp_path / name, labels=True)
    (tmp_path / "empty.npy").touch()
    refused("empty.npy cannot be read", tmp_path / "empty.npy")
    (tmp_path / "y.txt").write_bytes(b"\xff\xfe\x00")
    refused("UTF-8", tmp_path / "y.txt", labels=True)
    (tmp_path / "y.txt").write_text("\n\n")
    refused("shape (0,)", tmp_path / "y.txt", labels=True)
    (tmp_path / "y.csv").write_text("kind,place\na,b\n")
    refused("none is named label", tmp_path / "y.csv", labels=True)


def test_archives_must_say_which_array_it_is(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", first=np.ones((2, 2)), second=np.ones((2, 2)))
    refused("first, second: name one of them 'embeddings'", tmp_path / "two.npz")
    np.savez(tmp_path / "uneven.npz", embeddings=np.ones((3, 2)), labels=["a", "b"])
    refused("3 embeddings but 2 labels", tmp_path / "uneven.npz")
    (tmp_path / "two.npz").rename(tmp_path / "two.npy")
    refused("name it .npz", tmp_path / "two.npy")


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"embedding": [[1.0, 2.0], [3.0]]}, "2 different lengths"),
        ({"embedding": [[1.0, 2.0], None]}, "1 row(s) without a value"),
        ({"embedding": [[1.0, 2.0], [3.0, None]]}, "1 row(s) without a value"),
        ({"embedding": ["a", "b"]}, "make it a list"),
        ({"name": ["a", "b"]}, "neither"),
        ({"x": [1.0, 2.0], "label": ["a", None]}, "1 row(s) without a value"),
    ],
)
def test_parquet_that_holds_no_embeddings_is_refused(table: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    refused(sentence, write_table(tmp_path / "x.parquet", **table))
