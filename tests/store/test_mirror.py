"""A folder that stands for an address, here one in the memory of this process; two machines are two caches."""

import os
import shutil
import signal
import subprocess
import sys
import uuid

import fsspec
import numpy as np
import pytest
from support.jobs import tiny

import bench
from bench import store
from bench.store.address import Address, address_in
from bench.store.checkpoints import CHECKPOINT
from bench.store.job_folders import StoreError
from bench.store.mirror import Mirror, mirror_of, mirrored
from bench.store.row import Result, Row, failure

(JOB,) = tiny()


@pytest.fixture
def address():
    return f"memory://bucket/{uuid.uuid4().hex}"


@pytest.fixture
def machine(address, tmp_path, monkeypatch):
    """The mirror of the address on a machine, by the machine's name."""

    def on(name: str) -> Mirror:
        monkeypatch.setenv("BENCH_CACHE", str(tmp_path / name))
        found = mirror_of(mirrored(address, fetch=False))
        assert found is not None
        return found

    return on


def done(recall=0.5):
    row = Row.of(JOB, "done", scores={"recall_at_1": recall}, seconds=1.5)
    return Result(row, ({"epoch": 1, "loss": 0.5},), embeddings=np.eye(3), training=2 * np.eye(3))


def stored(mirror, result):
    store.write(mirror.folder, result)
    mirror.send(result.row.key)


def there(address):
    system, path = Address(address).files
    return {name.removeprefix(f"{path}/") for name in system.find(path)}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("s3:/bucket/prefix/", "s3://bucket/prefix"),  # what a Path makes of it
        ("memory:/a", "memory://a"),
        ("file:///tmp/runs", "file:///tmp/runs"),
        ("results/runs", None),
        ("C:/results", None),
        ("runs/s3://bucket", None),
    ],
)
def test_an_address_is_told_from_a_folder(source, found):
    assert address_in(source) == found


def test_what_ends_on_one_machine_is_read_on_another_and_embeddings_on_need(machine, address):
    stored(machine("one"), done())
    two = machine("two")
    (row,) = bench.load(address).to_dict("records")
    assert (row["key"], row["recall_at_1"]) == (JOB.key, 0.5)
    assert store.history(two.folder)["loss"].tolist() == [0.5]
    assert not (two.folder / JOB.key / "embeddings.npy").exists()
    assert store.has_embeddings(two.folder, JOB.key)
    store.fetch_arrays(two.folder, [JOB.key])
    assert np.array_equal(store.embeddings(two.folder, JOB.key), np.eye(3))
    assert np.array_equal(store.training(two.folder, JOB.key), 2 * np.eye(3))


def test_only_what_has_changed_is_fetched_again(machine, monkeypatch):
    stored(machine("one"), done())
    two, fetched = machine("two"), []
    two.fetch()
    get = Address.get
    monkeypatch.setattr(Address, "get", lambda self, pairs: fetched.extend(pairs) or get(self, pairs))
    two.fetch()
    assert fetched == []


def test_a_failure_gives_way_to_a_result_of_another_machine_and_leaves_nothing_behind(machine, address):
    one, two = machine("one"), machine("two")
    stored(one, failure(JOB, "failed", "no memory")._replace(traceback="here"))
    two.fetch()
    assert (two.folder / JOB.key / "error.txt").read_text() == "here"
    stored(two, done())
    one.fetch()
    assert store.load(one.folder)["status"].tolist() == ["done"]
    assert not (one.folder / JOB.key / "error.txt").exists()
    assert f"{JOB.key}/error.txt" not in there(address)


def test_the_row_is_sent_last_and_removed_first(machine, address, monkeypatch):
    """Whenever the sending breaks off, a row at the address has all that belongs to it."""
    one = machine("one")
    store.write(one.folder, done())
    monkeypatch.setattr(Mirror, "_put", lambda *_: (_ for _ in ()).throw(StoreError("the network is gone")))
    with pytest.raises(StoreError, match="the network is gone"):
        one.send(JOB.key)
    assert f"{JOB.key}/row.parquet" not in there(address)
    assert f"{JOB.key}/history.parquet" in there(address)
    machine("two").fetch()
    assert bench.load(address).empty


def test_what_could_not_be_sent_is_sent_by_the_next_run_and_no_reader_removes_it(machine, address):
    one = machine("one")
    store.write(one.folder, done())
    assert len(bench.load(address)) == 1
    assert there(address) == set()
    with store.driving(one.folder):
        assert f"{JOB.key}/row.parquet" in there(address)
    machine("two")
    assert len(bench.load(address)) == 1


@pytest.mark.parametrize("first", ["one", "two"])
def test_a_result_that_was_not_sent_is_never_lost_to_a_failure(machine, first):
    one, two = machine("one"), machine("two")
    store.write(one.folder, done() if first == "one" else failure(JOB, "failed", "why"))
    stored(two, failure(JOB, "failed", "why") if first == "one" else done())
    for mirror in (one, two):
        with store.driving(mirror.folder):
            assert store.load(mirror.folder)["status"].tolist() == ["done"]


def test_what_was_removed_at_the_address_is_removed_here(machine, address):
    stored(machine("one"), done())
    assert len(bench.load(address)) == 1
    system, path = Address(address).files
    system.rm(path, recursive=True)
    assert bench.load(address).empty


def test_a_checkpoint_is_continued_on_another_machine_until_its_job_ends(machine, address):
    one, two = machine("one"), machine("two")
    file = CHECKPOINT + JOB.key
    (one.folder / file).write_bytes(b"after an epoch")
    one.send_checkpoint(JOB.key)
    two.fetch_checkpoint(JOB.key)
    assert (two.folder / file).read_bytes() == b"after an epoch"
    (two.folder / file).write_bytes(b"after two epochs")
    two.send_checkpoint(JOB.key)
    one.fetch_checkpoint(JOB.key)
    assert (one.folder / file).read_bytes() == b"after two epochs"
    stored(two, done())
    assert file not in there(address)
    one.fetch_checkpoint(JOB.key)
    assert not (one.folder / file).exists()


def test_a_checkpoint_that_goes_while_another_process_removes_it_is_no_failure(machine, address, monkeypatch):
    """Two processes of a machine share its folder: the one in which the job has just ended removes it too."""
    one = machine("one")
    file = one.folder / f"{CHECKPOINT}{JOB.key}"
    file.write_bytes(b"half a job")
    one.send_checkpoint(JOB.key)
    Address(address).remove([file.name])
    mark = one._mark

    def marked(path):
        found = mark(path)
        path.unlink()
        return found

    monkeypatch.setattr(one, "_mark", marked)
    one.fetch_checkpoint(JOB.key)
    assert not file.exists()


def test_a_checkpoint_that_was_not_sent_is_kept(machine, address):
    one = machine("one")
    (one.folder / (CHECKPOINT + JOB.key)).write_bytes(b"after an epoch")
    one.fetch_checkpoint(JOB.key)
    assert (one.folder / (CHECKPOINT + JOB.key)).exists()


def test_a_folder_on_a_disk_may_be_an_address(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    one = mirror_of(mirrored(f"file://{tmp_path}/far", fetch=False))
    stored(one, done())
    shutil.rmtree(one.folder)
    assert bench.load(f"file://{tmp_path}/far")["key"].tolist() == [JOB.key]


SENDING = """
import os, signal, sys
from pathlib import Path
from fsspec.implementations.local import LocalFileSystem
from bench.store.address import Address
whole = LocalFileSystem.put_file
def half(self, here, there, **options):
    whole(self, here, there, **options)
    os.truncate(there, 100)
    os.kill(os.getpid(), signal.SIGKILL)
LocalFileSystem.put_file = half
Address(sys.argv[1]).put([(Path(sys.argv[2]), "object")])
"""


def test_on_a_disk_an_object_is_whole_also_after_a_kill_and_what_is_left_goes_with_the_next_run(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    far, address, file = tmp_path / "far", Address(f"file://{tmp_path}/far"), tmp_path / "file"
    address.write("object", b"old")
    file.write_bytes(b"new" * 1000)
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    sending = [sys.executable, "-c", SENDING, address.text, str(file)]
    assert subprocess.run(sending, env={**os.environ, **path}).returncode == -signal.SIGKILL
    assert address.read("object") == b"old"
    assert len(list(far.iterdir())) == 2
    with store.driving(mirrored(address.text)):
        pass
    assert [path.name for path in far.iterdir()] == ["object"]
    address.put([(file, "object")])
    assert (far / "object").read_bytes() == b"new" * 1000


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("nothing://bucket/x", "nothing://bucket/x: no such protocol; choose s3, gs"),
        ("s3://user:word@bucket/x", "s3://: leave user and password out of the address"),
        ("file:///proc/none/x", r"file:///proc/none/x: cannot be written \(.*\); see its name"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_sentence(tmp_path, monkeypatch, address, sentence):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    with pytest.raises(StoreError, match=sentence) as told, store.driving(mirrored(address, fetch=False)):
        pass
    assert "word@" not in str(told.value)


def test_a_package_that_is_missing_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))

    def url_to_fs(*_, **__):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", url_to_fs)
    with pytest.raises(StoreError, match=r"Install s3fs to access S3.*pip install 'lossbench\[remote\]'"):
        mirrored("s3://bucket/x")


def test_what_an_error_says_of_secrets_is_left_out(machine, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")

    def find(*_, **__):
        raise PermissionError("no access with wJalrXUtnFEMI")

    one = machine("one")
    monkeypatch.setattr(one.address.files[0], "find", find)
    with pytest.raises(StoreError, match=r"no access with \$AWS_SECRET_ACCESS_KEY\)") as told:
        one.fetch()
    assert told.value.__cause__ is None
