import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from support.loopback import Answer
from support.sample_photos import lay, spoil
from support.sample_sets import LIST, MINE, PICTURES_TGZ, Stages, call, get, hosts, mine, own, packed

from bench.datasets.acquire.prepare import prepare_dataset
from bench.datasets.acquire.sources import SOURCES
from bench.datasets.acquire.verify import verify_dataset
from bench.matrix.job import Part


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_DATA", raising=False)
    return tmp_path / "cache"


def test_verify_finds_a_sound_set_good(tmp_path: Path, cache: Path) -> None:
    with hosts([Answer(LIST)], [Answer(PICTURES_TGZ)]) as servers:
        sources = mine(servers)
        get(tmp_path / "data", sources)
    found = verify_dataset(MINE, tmp_path / "data", Stages(), sources=sources)
    assert (found.problems, found.remarks) == ([], [])
    assert found.checks[0] == f"{tmp_path / 'data' / 'mine' / 'list.txt'} is as published, by its hash"
    assert found.checks[1] == (
        "all there and all readable: 3 classes and 12 pictures for train, 3 classes and 12 pictures for test"
    )
    assert len(found.checks) == 3
    assert len(list(cache.iterdir())) == 1, "left something in the cache"


def test_an_official_set_from_nothing(tmp_path: Path) -> None:
    """With labels of the right number and kind, which verify then finds not to be those of the set."""
    labels = [number * 37 % 102 + 1 for number in range(8189)]
    table = io.BytesIO()
    savemat(table, {"labels": np.array([labels], np.uint8)})
    photos = packed("jpg", {f"image_{number:05d}.jpg": 2 * label for number, label in enumerate(labels, start=1)})
    with hosts([Answer(table.getvalue())], [Answer(photos)]) as servers:
        flowers = SOURCES["flowers102"]
        files = [
            file._replace(urls=(server.url,), digest="", bytes=None)
            for file, server in zip(flowers.files, servers, strict=True)
        ]
        flowers = flowers._replace(files=tuple(files))
        split = prepare_dataset(
            Part(name="flowers102", parameters={"size": 8}), tmp_path, Stages(), sources={"flowers102": flowers}
        )
    for part in split[:2]:
        assert part.images[:, 0, 0, 0].tolist() == [2 * int(part.classes[label]) for label in part.labels.tolist()]
    done = call("verify", "flowers102", "--data", tmp_path)
    assert done.exit_code == 1
    assert done.stdout.startswith("flowers102: wrong\n")
    wrong = r"imagelabels.mat is not as published \(SHA-256 \w+…, not 4903e94206ba…\): get it again from https://www"
    assert re.search(wrong, done.stdout)
    assert "all there and all readable: 51 classes" in done.stdout


def test_a_cache_that_cannot_be_written_is_a_sentence(tmp_path: Path, cache: Path) -> None:
    cache.write_text("not a folder")
    done = call("verify", "folder", "--set", f"path={own(tmp_path / 'own')}")
    assert done.exit_code == 1
    assert f"The cache {cache} cannot be written" in done.stdout


@pytest.mark.parametrize("keep", [0.2, 0.99])
def test_a_large_photo_cut_short_anywhere_is_unreadable(tmp_path: Path, keep: float) -> None:
    """Although a photo is decoded at a small scale, all of its bytes are."""
    photo = own(tmp_path) / "class 0" / "0.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    Image.fromarray(noise).save(photo, progressive=keep < 0.5)
    photo.write_bytes(photo.read_bytes()[: int(keep * photo.stat().st_size)])
    done = call("verify", "folder", "--set", f"path={tmp_path}")
    assert "has 1 unreadable picture(s): class 0/0.jpg (image file is truncated" in done.stdout


@pytest.mark.parametrize("name", ["folder", "manifest"])
@pytest.mark.parametrize("broken", [0, 3, 24])
def test_verify_names_unreadable_pictures(tmp_path: Path, name: str, broken: int) -> None:
    path = own(tmp_path, broken=broken) / ("photos.csv" if name == "manifest" else "")
    done = call("verify", name, "--set", f"path={path}", "--json")
    (found,) = json.loads(done.stdout)
    assert done.exit_code == (1 if broken else 0)
    assert found["good"] is (broken == 0)
    if broken:
        named = next(sentence for sentence in found["problems"] if "unreadable picture(s)" in sentence)
        assert f"{path} has {broken} unreadable picture(s): class " in named
        assert len(re.findall(r"class \d/\d+\.png", named)) == min(broken, 20)
        assert (" and 4 more." in named) is (broken == 24)
    else:
        assert any("3 classes and 12 pictures for train" in sentence for sentence in found["checks"])


def test_verify_names_and_counts_files_that_are_not_read(tmp_path: Path) -> None:
    root = own(tmp_path / "mine")
    (root / "class 0" / "film.mov").write_bytes(b"x")
    done = call("verify", "folder", "--set", f"path={root}")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "files left out: 2 that are not pictures of a class (.csv: 1, .mov: 1): photos.csv, class 0/film.mov" in (
        done.stdout
    )
    (root / "class 0" / "photo.dng").write_bytes(b"x")
    done = call("verify", "folder", "--set", f"path={root}")
    assert done.exit_code == 1
    assert f"{root} has 1 unreadable picture(s): class 0/photo.dng (a camera's raw file: export it" in done.stdout


def test_verify_reads_photos_although_they_are_decoded(tmp_path: Path) -> None:
    """What is in the cache was read when the photo was whole; its name, size and time tell of no change."""
    path = own(tmp_path) / "photos.csv"
    assert call("prepare", "manifest", "--set", f"path={path}").exit_code == 0
    photo = tmp_path / "class 1" / "1.png"
    stat = photo.stat()
    photo.write_bytes(bytes(stat.st_size))
    os.utime(photo, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert call("prepare", "manifest", "--set", f"path={path}").exit_code == 0
    done = call("verify", "manifest", "--set", f"path={path}")
    assert done.exit_code == 1
    assert "unreadable picture(s): class 1/1.png (no picture)." in done.stdout


@pytest.mark.parametrize(("name", "damage", "sentence"), [
    ("train.images.npy", lambda content: content[:-1] + bytes([content[-1] ^ 1]), "does not hold what was decoded"),
    ("test.labels.npy", lambda content: content[:-8] + bytes([content[-8] ^ 1]) + content[-7:], "does not hold what"),
    ("meta.json", lambda content: content[:-9], "cannot be read as a decoded set"),
])  # fmt: skip
def test_verify_reads_the_decoded_cache(
    tmp_path: Path, cache: Path, name: str, damage: Callable[[bytes], bytes], sentence: str
) -> None:
    path = own(tmp_path) / "photos.csv"
    for size in (8, 16):
        assert call("prepare", "manifest", "--set", f"path={path}", "--set", f"size={size}").exit_code == 0
    assert call("verify", "manifest", "--set", f"path={path}").stdout.count("in the cache holds what was decoded") == 2
    file = min(cache.iterdir()) / name
    file.write_bytes(damage(file.read_bytes()))
    done = call("verify", "manifest", "--set", f"path={path}")
    assert done.exit_code == 1
    assert f"{file.parent} {sentence}" in done.stdout
    assert done.stdout.count("in the cache holds what was decoded") == 1


def test_verify_counts_and_names_photos_of_a_published_set(tmp_path: Path, shared: Path) -> None:
    lists = shared / "data" / "metadata" / "CUB_200_2011"
    if not lists.is_dir():
        pytest.skip("BENCH_SHARED has no data/metadata/CUB_200_2011")
    root = tmp_path / "CUB_200_2011"
    root.mkdir()
    for name in ("images.txt", "image_class_labels.txt", "classes.txt"):
        (root / name).write_bytes((lists / name).read_bytes())
    labelled = [line.split()[1] for line in (root / "image_class_labels.txt").read_text().splitlines()]
    listed = [line.split()[1] for line in (root / "images.txt").read_text().splitlines()]
    lay(root / "images", zip(listed, map(int, labelled), strict=True))
    for photo in (listed[3], listed[9000]):
        spoil(root / "images" / photo)
    done = call("verify", "cub200", "--data", tmp_path)
    assert done.exit_code == 1
    assert (
        f"images has 2 unreadable picture(s): {listed[3]} (Truncated File Read), {listed[9000]} (Trunc" in done.stdout
    )


def test_verify_reads_archives(tmp_path: Path, shared: Path) -> None:
    real = shared / "data" / "omniglot"
    if not real.is_dir():
        pytest.skip("BENCH_SHARED has no data/omniglot")
    (tmp_path / "omniglot").mkdir()
    for name in ("images_background.zip", "images_evaluation.zip"):
        with ZipFile(real / name) as whole, ZipFile(tmp_path / "omniglot" / name, "w") as few:
            for drawing in whole.infolist()[::8]:
                few.writestr(drawing, whole.read(drawing))
    place = tmp_path / "omniglot" / "images_evaluation.zip"
    content = bytearray(place.read_bytes())
    content[5000] ^= 1
    place.write_bytes(content)
    done = call("verify", "omniglot", "--data", tmp_path)
    assert done.exit_code == 1
    assert done.stdout.count("is not the published archive byte for byte") == 2
    assert re.search(
        r"images_evaluation.zip has 1 unreadable picture\(s\): images_evaluation/\S+\.png \(.+\)\.", done.stdout
    )
