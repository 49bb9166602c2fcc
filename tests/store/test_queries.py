"""What is stored of every query comes back: from a folder, from a packed file, and from files written before."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.jobs import tiny

import bench
from bench import store
from bench.store.queries import SAMPLE, Queries
from bench.store.row import Result, Row, failure


def made(count=40, candidates=10, *, seed=0, **changes):
    random = np.random.default_rng(seed)
    values = {"map_at_r": np.where(np.arange(count) % 7, random.random(count), np.nan), "b": random.random(count)}
    parts = Queries(
        random.integers(0, 9, count),
        random.integers(0, 30, count).astype(np.int32),
        values,
        random.integers(0, count, (count, candidates)).astype(np.int32),
        np.sort(random.random((count, candidates)), axis=1).astype(np.float32) + 0.01,
    )
    return parts._replace(**changes)


def stored(folder, *found):
    jobs = tiny(seeds=len(found))
    for job, queries in zip(jobs, found, strict=True):
        store.write(folder, Result(Row.of(job, "done", scores={"recall_at_1": 0.5}), queries=queries))
    return [job.key for job in jobs]


def packed(folder):
    store.pack(folder / "runs", folder / "packed.parquet")
    return folder / "packed.parquet"


KINDS = {
    "all": made(),
    "few candidates": made(candidates=3),
    "an order": made(distances=None),
    "no neighbours": made(neighbours=None, distances=None),
    "first hits alone": made(classes=None, values={}, neighbours=None, distances=None),
}
kinds = pytest.mark.parametrize("queries", KINDS.values(), ids=KINDS)


@kinds
def test_a_folder_keeps_every_bit(tmp_path, queries):
    (key,) = stored(tmp_path, queries)
    np.testing.assert_equal(store.read_queries(tmp_path, key), queries)


@kinds
def test_a_packed_file_keeps_what_it_says_it_keeps(tmp_path, queries):
    keys = stored(tmp_path / "runs", queries, made(50, seed=1))
    file = packed(tmp_path)
    for key, one in zip(keys, (queries, made(50, seed=1)), strict=True):
        found = store.read_queries(file, key)
        for name in ("classes", "first_hit", "neighbours"):
            np.testing.assert_equal(getattr(found, name), getattr(one, name))
        assert set(found.values) == set(one.values)
        for name, values in one.values.items():
            np.testing.assert_allclose(found.values[name], values, rtol=6e-8)
        if one.distances is None:
            assert found.distances is None
        else:
            np.testing.assert_allclose(found.distances, one.distances, rtol=5e-4)


def test_neighbours_of_every_nth_query_are_packed(tmp_path):
    count = 2 * SAMPLE + 7
    (key,) = stored(tmp_path / "runs", made(count))
    found, whole = store.read_queries(packed(tmp_path), key), made(count)
    kept = (found.neighbours >= 0).all(1)
    assert kept.sum() == len(range(0, count, 3)) <= SAMPLE
    assert np.array_equal(np.flatnonzero(kept), np.arange(0, count, 3))
    assert np.array_equal(found.neighbours[kept], whole.neighbours[kept])
    assert (found.neighbours[~kept] == -1).all()
    assert np.array_equal(np.isnan(found.distances), ~kept[:, None] | np.zeros((count, 10), bool))
    assert np.array_equal(found.first_hit, whole.first_hit)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_distances_beyond_half_precision_are_packed_in_single(tmp_path, scale):
    keys = stored(tmp_path / "runs", made(), made(distances=made().distances * np.float32(scale)))
    file = packed(tmp_path)
    for key in keys:
        found, whole = (store.read_queries(source, key).distances for source in (file, tmp_path / "runs"))
        assert np.array_equal(found, whole)


def test_rows_are_loaded_without_their_queries(tmp_path):
    stored(tmp_path / "runs", made(), made(seed=1))
    rows = bench.load(packed(tmp_path))
    assert rows.columns.tolist() == bench.load(tmp_path / "runs").columns.tolist()


def test_files_written_when_only_first_hits_were_are_read(tmp_path):
    (key,) = stored(tmp_path / "runs", made())
    pq.write_table(pa.table({"first_hit": [1, 0, 3]}), tmp_path / "runs" / key / "queries.parquet")
    for source in (tmp_path / "runs", packed(tmp_path)):
        found = store.read_queries(source, key)
        assert found.first_hit.tolist() == [1, 0, 3]
        assert (found.classes, found.neighbours, found.distances, dict(found.values)) == (None, None, None, {})


def test_a_job_without_queries_is_named(tmp_path):
    one, two = tiny(seeds=2)
    store.write(tmp_path / "runs", Result(Row.of(one, "done"), queries=made()))
    store.write(tmp_path / "runs", failure(two, "failed", "out of memory"))
    file = packed(tmp_path)
    whole = pq.read_table(file)
    old = whole.drop_columns([name for name in whole.column_names if name.startswith("query_")])
    pq.write_table(old, tmp_path / "old.parquet")
    absent = [(file, two.key), (file, "nothing"), (tmp_path / "runs", two.key), (tmp_path / "old.parquet", one.key)]
    for source, key in absent:
        with pytest.raises(FileNotFoundError, match=key):
            store.read_queries(source, key)


def test_queries_that_cannot_be_read_are_named_and_the_rest_is_packed(tmp_path):
    one, two = stored(tmp_path / "runs", made(), made(seed=1))
    (tmp_path / "runs" / one / "queries.parquet").write_bytes(b"half")
    with pytest.warns(UserWarning, match=f"{one}/queries.parquet: is no whole Parquet file.*left out"):
        file = packed(tmp_path)
    assert len(bench.load(file)) == 2
    assert np.array_equal(store.read_queries(file, two).first_hit, made(seed=1).first_hit)
