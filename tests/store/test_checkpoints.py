"""Checkpoints on disk: whole or not at all, gone when their job is done, and nothing else is touched."""

import os
import time
from pathlib import Path

import pytest
from support.jobs import tiny
from support.stored import finished

import bench
from bench import store
from bench.store.checkpoints import (
    CHECKPOINT,
    KEPT,
    checkpoint,
    forget_checkpoint,
    keep_checkpoint,
)
from bench.store.job_folders import DAY
from bench.store.row import failure

(JOB,) = tiny()
NAME = f"{CHECKPOINT}{JOB.key}"


def keep(results: Path, text: str) -> None:
    keep_checkpoint(results, JOB.key, lambda draft: draft.write_text(text))


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def test_the_newest_one_is_kept_and_forgotten(tmp_path: Path) -> None:
    assert checkpoint(tmp_path / "runs", JOB.key) is None
    for text in ("one", "two"):
        keep(tmp_path / "runs", text)
        file = checkpoint(tmp_path / "runs", JOB.key)
        assert file is not None
        assert file.read_text() == text
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [NAME]
    for _ in range(2):
        forget_checkpoint(tmp_path / "runs", JOB.key)
        assert list((tmp_path / "runs").iterdir()) == []


def test_one_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    keep(tmp_path, "one")

    def half(draft: Path) -> None:
        draft.write_text("tw")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        keep_checkpoint(tmp_path, JOB.key, half)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {NAME: "one"}


def test_what_a_kill_left_half_written_goes_with_the_next(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.0123abcd").write_text("half")
    (tmp_path / f"{NAME}.notes").write_text("mine")
    keep(tmp_path, "whole")
    assert {path.name for path in tmp_path.iterdir()} == {NAME, f"{NAME}.notes"}


def test_readers_do_not_see_it(tmp_path: Path) -> None:
    store.write(tmp_path, finished(JOB))
    keep(tmp_path, "whole")
    assert len(bench.load(tmp_path)) == 1
    assert store.set_aside(tmp_path).sentences == ()
    assert store.pack(tmp_path, tmp_path / "packed.parquet") == 1
    assert (tmp_path / NAME).exists()


@pytest.mark.parametrize(
    ("name", "seconds", "status", "stays"),
    [
        (NAME, 0, None, True),
        (NAME, KEPT - 60, None, True),
        (NAME, KEPT + 60, None, False),
        (NAME, 0, "failed", True),
        (NAME, 0, "done", False),
        (f"{NAME}.0123abcd", 60, None, True),
        (f"{NAME}.0123abcd", DAY + 60, None, False),
        (f"{NAME}.notes", KEPT + 60, "done", True),
        (f"{CHECKPOINT}notes", KEPT + 60, "done", True),
    ],
)
def test_a_run_begins_without_those_that_nobody_goes_on_with(
    tmp_path: Path, name: str, seconds: float, status: str | None, stays: bool
) -> None:
    (tmp_path / name).write_text("some")
    age(tmp_path / name, seconds)
    if status:
        store.write(tmp_path, finished(JOB) if status == "done" else failure(JOB, "failed", "it was killed"))
    store.prepare(tmp_path)
    assert (tmp_path / name).exists() == stays


def test_a_folder_or_a_link_in_its_place_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("mine")
    (tmp_path / NAME).symlink_to("target")
    assert checkpoint(tmp_path, JOB.key) is None
    forget_checkpoint(tmp_path, JOB.key)
    assert (tmp_path / NAME).is_symlink()
    (tmp_path / NAME).unlink()
    (tmp_path / NAME).mkdir()
    forget_checkpoint(tmp_path, JOB.key)
    with pytest.raises(OSError, match="directory"):
        keep(tmp_path, "one")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [NAME]
