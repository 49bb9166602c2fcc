import errno
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bench.datasets.files import cache, scratch
from bench.datasets.files.cache import cached, digest
from bench.datasets.files.scratch import room
from bench.datasets.split import DataError, Images, Split

IDENTITY = {"dataset": "noise", "seed": 3}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def noise(seed: int = 3, *, gallery: bool = False, side: int = 5) -> Split:
    rng = np.random.default_rng(seed)

    def part(names: str, texts: tuple[str, ...] | None = None) -> Images:
        labels = np.arange(len(names)).repeat(2)
        return Images(rng.integers(0, 256, (len(labels), side, side, 3), np.uint8), labels, tuple(names), texts)

    return Split(
        part("ab", ("first", "zweiteŭ")), part("cd"), part("cde") if gallery else None, notes={"from": "noise"}
    )


def never() -> Split:
    raise AssertionError("built although it is in the cache")


def same(one: Split, other: Split) -> bool:
    pairs = [(a, b) for a, b in zip(one[:3], other[:3], strict=True) if a is not None or b is not None]
    return one[3:] == other[3:] and all(
        a[2:] == b[2:] and np.array_equal(a.images, b.images) and np.array_equal(a.labels, b.labels) for a, b in pairs
    )


@pytest.mark.parametrize("gallery", [False, True])
def test_a_split_comes_back_as_it_was_built(root: Path, gallery: bool) -> None:
    built = cached(IDENTITY, lambda: noise(gallery=gallery))
    assert same(built, cached(IDENTITY, never))
    assert same(built._replace(sha=""), noise(gallery=gallery))
    assert [place.name.split("-")[0] for place in root.iterdir()] == ["noise"], "a temporary folder was left behind"


@pytest.mark.usefixtures("root")
def test_another_identity_is_another_split() -> None:
    first = cached(IDENTITY, noise)
    assert cached({**IDENTITY, "seed": 4}, lambda: noise(4)).sha != first.sha
    assert cached(dict(reversed(IDENTITY.items())), never).sha == first.sha


@pytest.mark.usefixtures("root")
def test_large_images_are_mapped_and_not_writable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAPPED_BYTES", 1000)
    split = cached(IDENTITY, lambda: noise(side=20))
    assert isinstance(split.train.images, np.memmap)
    assert not split.train.images.flags.writeable
    assert same(split, cached(IDENTITY, never))


def test_digest_covers_images_labels_and_names() -> None:
    split = noise()
    images, labels, names, _ = split.train
    sha = hashlib.sha256()
    for name, part in (("train", split.train), ("test", split.test)):
        sha.update(json.dumps([name, list(part.images.shape), list(part.classes)]).encode())
        sha.update(part.images.tobytes() + part.labels.tobytes())
    assert digest(split) == sha.hexdigest()
    changed = [
        Images(images ^ 1, labels, names),
        Images(images, labels[::-1], names),
        Images(images, labels, ("a", "x")),
    ]
    assert len({digest(split._replace(train=train)) for train in (*changed, split.train)}) == 4
    assert digest(split) == digest(split._replace(notes={}, sha="1"))


@pytest.mark.parametrize("file", ["train.images.npy", "test.labels.npy", "meta.json"])
@pytest.mark.parametrize("damage", ["cut", "emptied", "removed", "another", "header"])
@pytest.mark.parametrize("mapped", [0, 2**30])
def test_a_broken_folder_is_built_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, file: str, damage: str, mapped: int
) -> None:
    monkeypatch.setattr(cache, "MAPPED_BYTES", mapped)
    sha = cached(IDENTITY, noise).sha
    (place,) = root.glob(f"noise-*/{file}")
    if damage == "removed":
        place.unlink()
    elif damage == "another":
        place.write_bytes(next(root.glob("noise-*/train.labels.npy")).read_bytes() if "images" in file else b"[1]")
    elif damage == "header":  # a text without an end in it, for which numpy's parser has errors of its own
        place.write_bytes(place.read_bytes()[:13] + b'"' + place.read_bytes()[14:])
    else:
        place.write_bytes(place.read_bytes()[: -7 if damage == "cut" else 0])
    for build in (noise, never):
        assert same(cached(IDENTITY, build), noise()._replace(sha=sha))


def test_of_many_that_need_it_at_the_same_time_one_builds_it(root: Path) -> None:
    built = []

    def build() -> Split:
        built.append(1)
        time.sleep(0.1)  # long enough for the others to come
        return noise()

    with ThreadPoolExecutor(8) as pool:
        splits = list(pool.map(lambda _: cached(IDENTITY, build), range(16)))
    assert all(same(split, splits[0]) for split in splits)
    assert len(list(root.iterdir())) == len(built) == 1


ENDLESS = """
import time
from bench.datasets.files.cache import cached
cached({"dataset": "noise", "seed": 3}, lambda: print("begun", flush=True) or time.sleep(10**6))
"""


def test_who_waits_for_a_builder_that_is_killed_builds_it(root: Path) -> None:
    with (
        subprocess.Popen([sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE) as builder,
        ThreadPoolExecutor() as pool,
    ):
        assert builder.stdout is not None
        builder.stdout.readline()
        waiting = pool.submit(cached, IDENTITY, noise)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.2)
        builder.kill()
        assert same(waiting.result(timeout=60), cached(IDENTITY, never))
    assert not list(root.glob("*.lock"))


def test_where_the_file_system_has_no_locks_nobody_waits(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert same(cached(IDENTITY, noise), cached(IDENTITY, never))
    assert not list(root.glob("*.lock"))


def test_a_build_that_fails_leaves_nothing(root: Path) -> None:
    with pytest.raises(AssertionError):
        cached(IDENTITY, never)
    assert list(root.iterdir()) == []


def test_what_a_killed_writer_left_is_swept_a_day_later(root: Path) -> None:
    for name, hours in (("old", 25), ("young", 1)):
        (root / f".writing-{name}" / "split").mkdir(parents=True)
        (root / f".writing-{name}.lock").touch()
        then = time.time() - hours * 3600
        for end in ("", ".lock"):
            os.utime(root / f".writing-{name}{end}", (then, then))
    cached(IDENTITY, noise)
    assert sorted(place.name for place in root.glob(".writing-*")) == [".writing-young", ".writing-young.lock"]


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"file cannot be written .* set BENCH_CACHE"):
        cached(IDENTITY, noise)


def test_room_beyond_memory_is_on_disk_and_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 1000)
    assert not isinstance(room((10, 10, 10)), np.memmap)
    assert not root.exists()

    def mapped(images: np.ndarray) -> np.ndarray:
        place = room(images.shape)
        assert isinstance(place, np.memmap)
        place[:] = images
        return place

    def build() -> Split:
        train, test = (part._replace(images=mapped(part.images)) for part in noise(side=20)[:2] if part)
        return noise(side=20)._replace(train=train, test=test)

    split = cached(IDENTITY, build)
    assert same(split._replace(sha=""), noise(side=20))
    assert [place.name.split("-")[0] for place in root.iterdir()] == ["noise"]


@pytest.mark.parametrize("on_disk", [False, True])
def test_vectors_are_cached_as_pictures_are(root: Path, monkeypatch: pytest.MonkeyPatch, on_disk: bool) -> None:
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 1000 if on_disk else 2**30)
    rows = np.random.default_rng(0).normal(size=(12, 100)).astype(np.float32)
    assert isinstance(room((10, 100), np.float32), np.memmap) == on_disk

    def build() -> Split:
        place = room(rows.shape, np.float32)
        place[:] = rows
        train = Images(place[:10], np.arange(10) // 5, ("a", "b"))
        return Split(train, Images(rows[2:], np.arange(10) // 5, ("c", "d")), notes={"from": "noise"})

    split = cached(IDENTITY, build)
    assert split.train.images.dtype == split.test.images.dtype == np.float32
    assert np.array_equal(split.train.images, rows[:10])
    assert np.array_equal(split.test.images, rows[2:])
    assert same(split, cached(IDENTITY, never))
    assert split.sha == digest(split)
    (file,) = root.glob("*/train.images.npy")
    assert file.stat().st_size == 128 + rows[:10].nbytes
    assert np.array_equal(np.load(file), rows[:10])


@pytest.mark.parametrize("rows", [slice(4), slice(3), slice(1, 4), slice(None, None, 2), slice(None, None, -1)])
def test_what_is_decoded_into_a_file_is_not_written_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, rows: slice
) -> None:
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 1000)
    inodes = []

    def build() -> Split:
        split = noise(side=20)
        place = room(split.train.images.shape)
        place[:] = split.train.images
        inodes.append(next(root.glob(".writing-*/*")).stat().st_ino)
        train = split.train._replace(images=place[rows], labels=split.train.labels[rows])
        return split._replace(train=train, test=split.test._replace(images=place[2:], labels=split.test.labels[2:]))

    kept = cached(IDENTITY, build)
    assert np.array_equal(kept.train.images, noise(side=20).train.images[rows])
    assert np.array_equal(kept.test.images, noise(side=20).train.images[2:])
    assert same(kept, cached(IDENTITY, never))
    (file,) = root.glob("*/train.images.npy")
    assert (file.stat().st_ino == inodes[0]) == (rows.start is None and rows.step is None)
    assert file.stat().st_size == 128 + kept.train.images.size
    assert file.stat().st_mode == file.with_name("train.labels.npy").stat().st_mode
    assert [place.name.split("-")[0] for place in root.iterdir()] == ["noise"]


def test_a_full_disk_is_a_sentence(root: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be written \(.+\): set BENCH_CACHE"):
        room((2**60,))
