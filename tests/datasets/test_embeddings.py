"""Stored embeddings become a split, from every kind of file."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.sample_sets import call
from support.sample_vectors import (
    WAYS,
    data,
    lists,
    npy,
    npz,
    refused,
    table,
    wide,
    with_roles,
)

from bench.datasets.embeddings import embeddings
from bench.datasets.files import scratch, vectors_file
from bench.datasets.files.cache import digest
from bench.datasets.split import Split, are_vectors, left_out, remarks


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


def by_class(split: Split) -> dict[str, NDArray[np.float32]]:
    """Class name -> its vectors of all parts, in order."""
    parts = [part for part in split[:3] if part is not None]
    names = sorted({name for part in parts for name in part.classes})
    return {
        name: np.concatenate(
            [part.images[part.labels == part.classes.index(name)] for part in parts if name in part[2]]
        )
        for name in names
    }


@pytest.mark.parametrize("write", WAYS)
@pytest.mark.parametrize("block", [1, 300, 2**24])
def test_every_way_to_store_them_gives_the_same_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., str], block: int
) -> None:
    monkeypatch.setattr(vectors_file, "BLOCK_BYTES", block)
    monkeypatch.setattr(vectors_file, "BATCH", max(1, block // 32))
    points, columns = data()
    split = embeddings(tmp_path, path=write(tmp_path, points, columns))
    assert are_vectors(split)
    for part, side in zip(split[:2], ("train", "test"), strict=True):
        rows = [row for row, own in enumerate(columns["split"]) if own == side]
        assert part.images.dtype == np.float32
        assert np.array_equal(part.images, points[rows])
        assert [part.classes[label] for label in part.labels] == [str(columns["label"][row]) for row in rows]
        assert part.classes == tuple(map(str, range(5) if side == "train" else range(5, 10)))
        assert part.texts is None
    assert split.gallery is None
    assert split.sha == digest(split)
    assert remarks(split) == ()


@pytest.mark.parametrize("write", WAYS)
def test_roles_names_and_texts_are_read_from_every_kind_of_file(tmp_path: Path, write: Callable[..., str]) -> None:
    points, columns = data()
    columns = with_roles(columns)
    columns["class_name"] = [f"kind {label}" for label in columns["label"]]
    columns["text"] = [f"about {label}" for label in columns["label"]]
    split = embeddings(tmp_path, path=write(tmp_path, points, columns))
    assert split.gallery is not None
    assert split.train.classes == tuple(f"kind {label}" for label in range(5))
    assert split.test.texts == split.gallery.texts == tuple(f"about {label}" for label in range(5, 10))
    assert np.array_equal(split.test.images, points[[role == "query" for role in columns["role"]]])
    assert np.array_equal(split.gallery.images, points[[role == "gallery" for role in columns["role"]]])


@pytest.mark.parametrize("kind", ["f2", "f4", ">f4", "f8", "i1", "i8", "u1"])
def test_numbers_become_single_precision(tmp_path: Path, kind: str) -> None:
    points, columns = data()
    points = np.abs(np.round(points * 8)).astype(kind)
    split = embeddings(tmp_path, path=npy(tmp_path, points, columns))
    assert split.train.images.dtype == np.float32
    assert np.array_equal(split.train.images, points[[side == "train" for side in columns["split"]]].astype("f4"))


def test_without_a_split_a_share_of_the_classes_is_tested_and_that_is_said(tmp_path: Path) -> None:
    points, columns = data()
    del columns["split"]
    path = npz(tmp_path, points, columns)
    splits = [embeddings(tmp_path, path=path, test_share=0.3, seed=seed) for seed in (0, 0, 1)]
    for split in splits:
        assert (len(split.train.classes), len(split.test.classes)) == (7, 3)
        assert not set(split.train.classes) & set(split.test.classes)
        found = by_class(split)
        assert all(np.array_equal(found[str(one)], points[np.array(columns["label"]) == one]) for one in range(10))
    assert splits[0].sha == splits[1].sha != splits[2].sha
    assert remarks(splits[0]) == ("sides: there is no column split, so 3 of 10 classes, by seed 0, are tested",)


def test_the_classes_tested_are_those_that_a_folder_of_the_same_names_tests(tmp_path: Path) -> None:
    from bench.datasets.files.stable_choice import choose

    points, columns = data()
    del columns["split"]
    split = embeddings(tmp_path, path=npz(tmp_path, points, columns), seed=4)
    assert set(split.test.classes) == set(choose([str(number) for number in range(10)], 5, 4))


def test_a_class_with_few_embeddings_is_left_out_and_counted(tmp_path: Path) -> None:
    points, columns = data()
    columns["label"][7], columns["split"][7] = 77, "train"
    split = embeddings(tmp_path, path=lists(tmp_path, points, columns))
    assert left_out(split) == "classes left out: 1 with too few embeddings: 77"
    kept = [row for row, side in enumerate(columns["split"]) if side == "train" and row != 7]
    assert np.array_equal(split.train.images, points[kept])
    assert embeddings(tmp_path, path="x.parquet", min_images=1).train.classes[-1] == "77"


def test_a_named_table_counts_and_lies_beside_the_embeddings(tmp_path: Path) -> None:
    points, columns = data()
    (tmp_path / "deep").mkdir()
    npz(tmp_path / "deep", points, {**columns, "label": columns["label"][::-1]})
    own = table(tmp_path / "deep" / "rows.csv", columns)
    split = embeddings(tmp_path, path="deep/x.npz", table="rows.csv")
    assert split.notes["table"] == "rows.csv"
    assert split.sha == embeddings(None, path=str(tmp_path / "deep" / "x.npz"), table=str(own)).sha
    refused(tmp_path, "deep/x.npz", "none.csv is not a file: set table to", table="none.csv")


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    points, columns = data()
    path = npy(tmp_path, points, columns)
    before = embeddings(tmp_path, path=path)
    np.save(tmp_path / path, points + 1)
    after = embeddings(tmp_path, path=path)
    assert after.sha != before.sha
    table(tmp_path / "x.csv", {**columns, "class_name": [f"n{label}" for label in columns["label"]]})
    assert embeddings(tmp_path, path=path).train.classes[0] == "n0"


def test_vectors_beyond_memory_are_kept_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 100)
    points, columns = data()
    path = npy(tmp_path, points, columns)
    split = embeddings(tmp_path, path=path)
    assert np.array_equal(split.train.images, points[[side == "train" for side in columns["split"]]])
    assert [place.name.split("-")[0] for place in (tmp_path / "cache").iterdir()] == ["embeddings"]
    assert embeddings(tmp_path, path=path).sha == split.sha == digest(split)


def test_zeros_and_dimensions_that_never_change_are_told(tmp_path: Path) -> None:
    points, columns = data()
    points[:, 2], points[:, 5] = 4, -1
    points[[9, 11]] = 0
    split = embeddings(tmp_path, path=npy(tmp_path, points, columns))
    assert split.notes["zeros"] == "2 embedding(s) are all zeros, such as row 10"
    assert "constant" not in split.notes
    points[:, 6] = 0
    split = embeddings(tmp_path, path=npy(tmp_path, points, columns))
    assert split.notes["constant"] == "1 of 8 dimension(s) are the same in every embedding, such as number 7"


def test_copies_are_counted_as_those_of_pictures_are(tmp_path: Path) -> None:
    points, columns = data()
    rows = {side: [row for row, own in enumerate(columns["split"]) if own == side] for side in ("train", "test")}
    points[rows["test"][3]] = points[rows["train"][2]]
    points[rows["test"][6]] = points[rows["test"][5]]
    split = embeddings(tmp_path, path=npy(tmp_path, points, columns))
    assert split.notes["copies"] == (
        f"1 test embedding(s) among the training embeddings too: row {rows['test'][3] + 1}; "
        f"1 test embedding(s) there more than once: row {rows['test'][6] + 1}"
    )
    assert split.notes["two labels"].startswith("2 embedding(s) are there under more than one label: row ")


def test_queries_that_are_in_their_gallery_are_counted(tmp_path: Path) -> None:
    points, columns = data()
    columns = with_roles(columns)
    own = [row for row, label in enumerate(columns["label"]) if label == 7]
    points[own[1]] = points[own[0]]
    split = embeddings(tmp_path, path=npz(tmp_path, points, columns))
    assert split.notes["copies"] == f"1 test embedding(s) in the gallery too: row {own[0] + 1}"
    assert "two labels" not in split.notes


def test_columns_of_a_wide_table_that_are_no_dimensions_are_named(tmp_path: Path) -> None:
    points, columns = data()
    path = wide(tmp_path, points, {**columns, "image_id": list(range(120))})
    assert embeddings(tmp_path, path=path).notes["columns"] == (
        "embeddings are the 8 float columns e0 to e7; left out: image_id"
    )
    refused(tmp_path, wide(tmp_path, points, {**columns, "score": [0.5] * 120}), "e0 to e7, but also score:")


@pytest.mark.parametrize("write", [npy, lists])
def test_bench_data_speaks_of_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., str]
) -> None:
    monkeypatch.delenv("BENCH_DATA", raising=False)
    points, columns = data()
    path = write(tmp_path, np.tile(points, 150), {**columns, "path": columns["label"]} if write is npy else columns)
    done = call("prepare", "embeddings", "--set", f"path={path}", "--data", tmp_path)
    assert (done.exit_code, done.stderr) == (0, "")
    counts = "train 5 classes 60 vectors of 1,200, test 5 classes 60 vectors of 1,200; "
    assert done.stdout.startswith(f"embeddings(path={path}): {counts}")
    found = {one["name"]: one for one in json.loads(call("list", "--data", tmp_path, "--json").stdout)}["embeddings"]
    assert (found["decoded"], found["widths"]) == ([], [1200])
    listed = call("list", "--data", tmp_path).stdout
    assert "in the cache: vectors of 1,200\n" in listed
    assert "pixels" not in listed
    done = call("verify", "embeddings", "--set", f"path={path}", "--data", tmp_path)
    assert done.exit_code == 0
    assert "all there and all readable: 5 classes and 60 vectors for train, 5 classes and 60 vectors for test" in (
        done.stdout
    )
