import os
import subprocess

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.jobs import tiny

import bench
from bench import store
from bench.matrix.job import Job
from bench.store.checked_files import SEEN
from bench.store.job_folders import StoreError
from bench.store.queries import Queries
from bench.store.row import MemberEpoch, Result, Row, failure
from bench.store.row_journal import NOTED

(JOB,) = tiny()
QUERIES = Queries(None, np.array([1, 0, 3], np.int32), {}, None, None)
HISTORY = (
    {"epoch": 1, "loss": 0.5, "rate": 1e-3, "seconds": 0.1},
    {"epoch": 2, "loss": 0.25, "rate": 0.0, "seconds": 0.1},
)


MEMBERS = (
    MemberEpoch(1, "triplet", 0.5, 0.25, 0.75),
    MemberEpoch(1, "sum[a, b] / a", 2.0, None, None),
)


def result(job=JOB, **scores):
    row = Row.of(job, "done", scores=scores or {"recall_at_1": 0.5}, seconds=1.5)
    eye = np.eye(3, dtype=np.float32)
    return Result(row, HISTORY, QUERIES, eye, members=MEMBERS, training=2 * eye)


def test_what_is_written_is_read(tmp_path):
    store.write(tmp_path, result(recall_at_1=0.5, map_at_r=None))
    (row,) = bench.load(tmp_path).to_dict("records")
    assert (row["key"], row["status"], row["kind"], row["seed"]) == (JOB.key, "done", "loss", 0)
    assert (row["cell"], Job.model_validate_json(row["job"]).key) == (JOB.cell, JOB.key)
    assert (row["recall_at_1"], row["seconds"]) == (0.5, 1.5)
    assert pd.isna(row["map_at_r"])
    assert list(row["members"]) == []
    assert store.history(tmp_path)[["key", "epoch", "loss"]].to_numpy().tolist() == [
        [JOB.key, 1, 0.5],
        [JOB.key, 2, 0.25],
    ]
    assert np.array_equal(store.embeddings(tmp_path, JOB.key), np.eye(3))
    assert np.array_equal(store.training(tmp_path, JOB.key), 2 * np.eye(3))
    assert store.read_queries(tmp_path, JOB.key).first_hit.tolist() == [1, 0, 3]
    found = store.members(tmp_path)
    assert found.columns.tolist() == ["key", "epoch", "member", "value", "weight", "running_mean", "model"]
    assert [MemberEpoch(*line[1:]) for line in found.astype(object).where(found.notna(), None).values] == list(MEMBERS)


def test_columns_that_differ_between_files_are_all_kept(tmp_path):
    one, two = tiny(seeds=2)
    store.write(tmp_path, result(one, recall_at_1=0.1))
    store.write(tmp_path, result(two, recall_at_1=0.2, recall_at_10=0.9))
    rows = bench.load(tmp_path).set_index("seed")
    assert rows["recall_at_10"].isna().tolist() == [True, False]
    assert rows["recall_at_1"].tolist() == [0.1, 0.2]


def test_a_row_without_scores_decides_no_column_type(tmp_path):
    one, two = tiny(seeds=2)
    store.write(tmp_path, failure(one, "failed", "out of memory"))
    store.write(tmp_path, result(two))
    rows = bench.load(tmp_path)
    assert sorted(rows["status"]) == ["done", "failed"]
    assert rows["recall_at_1"].dtype == np.float64


def test_a_finished_row_is_never_replaced_and_another_gives_way(tmp_path):
    store.write(tmp_path, failure(JOB, "failed", "killed"))
    store.write(tmp_path, result(recall_at_1=0.5))
    store.write(tmp_path, result(recall_at_1=0.9))
    store.write(tmp_path, failure(JOB, "failed", "killed"))
    assert bench.load(tmp_path)["recall_at_1"].tolist() == [0.5]
    assert {path.name for path in tmp_path.iterdir()} == {JOB.key, NOTED, SEEN}


def test_packing_keeps_rows_and_history(tmp_path):
    for job in tiny(seeds=3):
        store.write(tmp_path / "runs", result(job))
    file = tmp_path / "deep" / "packed.parquet"
    assert store.pack(tmp_path / "runs", file) == 3
    folder, packed = bench.load(tmp_path / "runs"), bench.load(file)
    pd.testing.assert_frame_equal(folder.sort_values("key", ignore_index=True), packed, check_like=True)
    for log in (store.history, store.members):
        pd.testing.assert_frame_equal(log(tmp_path / "runs"), log(file))
        assert len(log(file)) == 6
        keys = set(folder["key"][:2])
        for source in (tmp_path / "runs", file):
            some = log(source, keys=keys)
            assert set(some["key"]) == keys
            pd.testing.assert_frame_equal(some, log(source).query("key in @keys").reset_index(drop=True))
    assert [path.name for path in file.parent.iterdir()] == ["packed.parquet"]


@pytest.mark.parametrize("damage", ["cut", "empty", "absent", "letters"])
def test_a_row_that_cannot_be_read_is_set_aside_and_named(tmp_path, damage):
    one, two = tiny(seeds=2)
    store.write(tmp_path, result(one))
    store.write(tmp_path, result(two))
    row = tmp_path / one.key / "row.parquet"
    whole = row.read_bytes()
    left = {"cut": whole[: len(whole) // 2], "empty": b"", "letters": whole.replace(b"peak_memory", b"\xdeeak_memory")}
    row.unlink() if damage == "absent" else row.write_bytes(left[damage])
    with pytest.warns(UserWarning, match=one.key):
        assert bench.load(tmp_path)["key"].tolist() == [two.key]
    (sentence,) = store.set_aside(tmp_path).sentences
    assert one.key in sentence
    assert store.statuses(bench.load(tmp_path)) == {two.key: "done"}
    assert (tmp_path / f".broken-{one.key}-0").is_dir()
    store.write(tmp_path, result(one))
    assert store.statuses(bench.load(tmp_path)) == {one.key: "done", two.key: "done"}


@pytest.mark.parametrize("read", [store.history, store.members])
def test_a_log_that_cannot_be_read_is_named_and_left_out(tmp_path, read):
    one, two = tiny(seeds=2)
    for job in (one, two):
        store.write(tmp_path, result(job))
    for name in ("history", "members"):
        (tmp_path / one.key / f"{name}.parquet").write_bytes(b"")
    with pytest.warns(UserWarning, match=one.key):
        assert set(read(tmp_path)["key"]) == {two.key}


def test_a_file_packed_without_queries_has_the_rows_and_histories(tmp_path):
    for job in tiny(seeds=2):
        store.write(tmp_path / "runs", result(job))
    files = [tmp_path / "whole.parquet", tmp_path / "small.parquet"]
    store.pack(tmp_path / "runs", files[0])
    assert store.pack(tmp_path / "runs", files[1], queries=False) == 2
    pd.testing.assert_frame_equal(*map(bench.load, files))
    pd.testing.assert_frame_equal(*map(store.history, files))
    assert not any(name.startswith("query_") for name in pq.read_schema(files[1]).names)


def test_a_file_that_bench_did_not_pack_is_a_sentence(tmp_path):
    for name, table in {"other": pa.table({"a": [1]}), "half": pa.table({"key": ["a"], "status": ["done"]})}.items():
        pq.write_table(table, tmp_path / name)
        with pytest.raises(StoreError, match=r"has no column '.*'; name a folder of results"):
            bench.load(tmp_path / name)
    for name, content in {"empty": b"", "text": b"key,status\n"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(StoreError, match="is no Parquet file; name a folder of results"):
            bench.load(tmp_path / name)


@pytest.mark.parametrize("queries", [True, False])
def test_files_are_added_to_a_folder_as_if_all_had_been_in_it(tmp_path, queries):
    jobs = tiny(seeds=4)
    for number, job in enumerate(jobs):
        for part in ["all", "old"] if number < 2 else ["all", "middle"] if number < 3 else ["all", "new"]:
            store.write(tmp_path / part, result(job))
    store.write(tmp_path / "new", result(jobs[0], recall_at_1=0.987))
    for part in ("all", "old", "middle"):
        store.pack(tmp_path / part, tmp_path / f"{part}.parquet", queries=queries)
    others = [tmp_path / "old.parquet", tmp_path / "middle.parquet", tmp_path / "old.parquet"]
    file = tmp_path / "old.parquet"  # which is one of those added
    assert store.pack(tmp_path / "new", file, queries=queries, others=others) == 4
    whole, added = (pq.read_table(one).to_pylist() for one in (tmp_path / "all.parquet", file))
    newer = {jobs[0].key: {"recall_at_1": 0.987}}
    assert repr(added) == repr([row | newer.get(row["key"], {}) for row in whole])


def test_only_a_packed_file_is_added(tmp_path):
    store.write(tmp_path / "runs", result())
    (tmp_path / "other").write_bytes(b"key,status\n")
    with pytest.raises(StoreError, match="is no Parquet file"):
        store.pack(tmp_path / "runs", tmp_path / "packed.parquet", others=[tmp_path / "other"])
    assert not (tmp_path / "packed.parquet").exists()


def test_a_packed_file_is_not_packed_again(tmp_path):
    store.write(tmp_path / "runs", result())
    store.pack(tmp_path / "runs", tmp_path / "packed.parquet")
    with pytest.raises(StoreError, match="packed already"):
        store.pack(tmp_path / "packed.parquet", tmp_path / "again.parquet")


def test_an_unfinished_write_is_invisible(tmp_path):
    store.write(tmp_path, result())
    draft = tmp_path / ".draft-abc"
    draft.mkdir()
    (draft / "row.parquet").write_bytes(b"half")
    assert len(bench.load(tmp_path)) == 1
    assert store.set_aside(tmp_path).sentences == ()


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(StoreError, match="name another folder with --results"):
        store.prepare(file)
    with pytest.raises(StoreError, match="--results"):
        store.write(file, result())


def test_a_full_disk_is_a_sentence_and_loses_nothing(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True).returncode
    ):
        pytest.skip("a small disk needs the right to mount one")
    try:
        store.write(disk, result())
        big = result(tiny(seeds=2)[1])._replace(embeddings=np.ones((1000, 1000), np.float32))
        with pytest.raises(StoreError, match="the disk is full; free some space"):
            store.write(disk, big)
        assert store.statuses(bench.load(disk)) == {JOB.key: "done"}
        assert {path.name for path in disk.iterdir()} == {JOB.key, NOTED, SEEN}
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize(
    "read", [bench.load, store.history, store.members, lambda path: store.pack(path, path / "x.parquet")]
)
def test_a_missing_folder_says_so(tmp_path, read):
    with pytest.raises(FileNotFoundError, match="run a matrix first"):
        read(tmp_path / "nothing")


def test_a_file_packed_before_members_were_written_down_has_none(tmp_path):
    store.write(tmp_path / "runs", result())
    store.pack(tmp_path / "runs", tmp_path / "packed.parquet")
    old = pq.read_table(tmp_path / "packed.parquet").drop_columns("member_history")
    pq.write_table(old, tmp_path / "old.parquet")
    assert store.members(tmp_path / "old.parquet").empty
    assert len(store.history(tmp_path / "old.parquet")) == 2
