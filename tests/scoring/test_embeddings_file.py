"""What is read of a file of embeddings or labels, and what is refused, in one sentence."""

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from support.sample_files import sample, saved, spoilt, write_table

from bench.datasets.files.labels_file import read_labels
from bench.datasets.split import DataError
from bench.scoring.embeddings_file import read_embeddings

HUGE = b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999, 9), }"


def refused(sentence: str, file: Path, *, labels: bool = False) -> None:
    with pytest.raises(DataError, match=re.escape(sentence)) as caught:
        read_labels(file) if labels else read_embeddings(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


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


@pytest.mark.parametrize("labels", [False, True], ids=["embeddings", "labels"])
def test_damaged_letters_of_labels_are_a_sentence(labels: bool, tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    columns = {"a": [0.5, 1.0], "b": [1.0, 2.0], "label": ["straße", "x"]}
    parquet.write_table(pa.table(columns), file, compression="none", use_dictionary=False)
    file.write_bytes(file.read_bytes().replace("ß".encode(), b"\xdea"))
    refused("x.parquet cannot be read (Column 2", file, labels=labels)


def test_integers_of_a_wide_table_are_no_dimensions(tmp_path: Path) -> None:
    points, labels = sample()
    numbers = {f"e{i}": column for i, column in enumerate(points.T)}
    wide = {"index": range(40), "image_id": range(40), **numbers, "target": range(40), "label": labels.tolist()}
    found = read_embeddings(write_table(tmp_path / "x.parquet", **wide))
    assert np.array_equal(found.points, points)
    assert str(found.table) == "embeddings are the 4 float columns e0 to e3; left out: index, image_id, target"


@pytest.mark.parametrize("extra", ["score", "target", "dist1", "2020"])
def test_a_float_column_named_unlike_the_others_is_refused(extra: str, tmp_path: Path) -> None:
    numbers = {f"e{i}": column for i, column in enumerate(sample()[0].T)}
    file = write_table(tmp_path / "x.parquet", **numbers, **{extra: np.arange(40.0)})
    refused(f"e0 to e3, but also {extra}:", file)


def test_numbered_integers_beside_a_float_column_of_another_kind_are_refused(tmp_path: Path) -> None:
    file = write_table(tmp_path / "x.parquet", e0=[1, 2], fold=[0.0, 1.0])
    refused("has 1 numbered column(s) of integers, such as e0: store them as floats", file)


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ({"score": [0.5, 0.6]}, "e_0_x to e_3_x, but also score:"),
        ({"vector": [[1.0], [2.0]]}, "has no column of lists 'embedding', but vector: give the one"),
        ({"e_4_x": [1, 2]}, "has 1 numbered column(s) of integers, such as e_4_x: store them as floats"),
        ({f"q{number}": [1, 2] for number in range(9)}, "has 9 numbered column(s) of integers, such as q0"),
        ({"x1": [1, 2], "x2": [3, 4]}, ""),
    ],
)
def test_what_may_be_the_embedding_rather_than_the_float_columns_is_refused(
    tmp_path: Path, extra: dict[str, Any], sentence: str
) -> None:
    """Numbers may stand anywhere in a name; a box of whole numbers is none of the embedding."""
    file = write_table(tmp_path / "x.parquet", **{f"e_{number}_x": [0.1, 0.2] for number in range(4)}, **extra)
    if sentence:
        refused(sentence, file)
    else:
        assert read_embeddings(file).points.shape == (2, 4)


def test_float_columns_that_are_not_numbered_are_taken_together(tmp_path: Path) -> None:
    found = read_embeddings(write_table(tmp_path / "x.parquet", x=[1.0, 2.0], y=[3.0, 4.0], label=["a", "b"]))
    assert found.points.tolist() == [[1, 3], [2, 4]]


def test_columns_with_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.table([pa.array([1.0]), pa.array([2.0])], names=["e0", "e0"])
    parquet.write_table(table, tmp_path / "x.parquet")
    refused("several columns named 'e0'", tmp_path / "x.parquet")


def test_bits_of_bfloat16_are_not_taken_for_integers(tmp_path: Path) -> None:
    bits = sample()[0].view(np.uint16)[:, 1::2]
    refused("save it as float32", saved(tmp_path / "x.npy", bits))
    np.savez(tmp_path / "x.npz", embeddings=bits)
    refused("save it as float32", tmp_path / "x.npz")
    refused("not numbers", saved(tmp_path / "v.npy", np.zeros((4, 2), "V2")))
    assert read_embeddings(saved(tmp_path / "q.npy", np.ones((4, 2), np.int8))).points.dtype == np.float64


def test_a_table_of_queries_that_merely_lies_beside_splits_nothing(tmp_path: Path) -> None:
    file = saved(tmp_path / "embeddings.npy", sample()[0])
    write_table(tmp_path / "queries.parquet", first_hit=[1] * 20)
    assert read_embeddings(file).queries == 40
    write_table(tmp_path / "row.parquet", anything=[1])
    assert read_embeddings(tmp_path).queries == 40


@pytest.mark.parametrize(
    ("name", "held", "sentence"),
    [
        ("x.npy", b"\x93NUMPY\x01\x00v\x00{'descr': [(", "cannot be read"),
        ("x.npy", HUGE, "cannot be read"),
        ("x.npz", b"PK\x03\x04", "cannot be read"),
        ("x.parquet", b"PAR1PAR1", "cannot be read"),
    ],
)  # fmt: skip
def test_damaged_headers_are_one_sentence(name: str, held: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(held)
    refused(sentence, tmp_path / name)


def test_an_archive_of_raw_bytes_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("embeddings", b"abc")
    refused("which is no array", tmp_path / "x.npz")
