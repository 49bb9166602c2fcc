"""What every dataset promises: a new file in bench/datasets is tested as soon as its function is in its `__all__`."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.datasets.files.cache import digest
from bench.datasets.split import DataError, Split, are_vectors
from bench.matrix.catalogue import entries

SMALLER = {
    "glyphs": {"classes": 20, "images_per_class": 4, "test_classes": 10, "test_images_per_class": 3},
    "cars196": {"size": 8},
    "cub200": {"size": 8},
    "grocery_store": {"size": 32},
    "embeddings": {"table": "manifest.csv"},
    "inshop": {"size": 8},
    "omniglot": {"classes": 20},
    "sop": {"size": 8},
}
"""Parameters that make a dataset quicker to read; others are read as they are."""


def data() -> Path:
    return Path(os.environ.get("BENCH_SHARED") or Path(__file__).parents[2] / "../shared").resolve() / "data"


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of six classes, a manifest of them, and as many vectors."""
    root = tmp_path_factory.mktemp("pictures")
    lines = ["path,label,split"]
    for number in range(24):
        place = root / f"class {number % 6}" / f"{number}.png"
        place.parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 20), (number * 10, 90, 0)).save(place)
        lines.append(f"class {number % 6}/{number}.png,{number % 6},{'test' if number % 2 else 'train'}")
    np.save(root / "vectors.npy", np.random.default_rng(0).normal(size=(24, 5)))
    (root / "manifest.csv").write_text("\n".join(lines), encoding="utf-8")
    return root


@cache
def read(name: str, own_folder: Path) -> Split:
    entry = entries("datasets")[name]
    parameters = SMALLER.get(name, {})
    if "path" in entry.parameters:
        own = {"manifest": "manifest.csv", "embeddings": "vectors.npy"}.get(name, "")
        parameters = {**parameters, "path": str(own_folder / own)}
    try:
        split: Split = entry.function()(data(), **parameters)
    except DataError as error:
        pytest.skip(str(error))
    return split


def test_the_catalogue_finds_the_datasets_and_no_helper() -> None:
    assert {"glyphs", "omniglot", "grocery_store", "folder"} <= set(entries("datasets"))
    assert not {"cached", "read", "choose", "distinct", "load"} & set(entries("datasets"))


@pytest.mark.parametrize("name", entries("datasets"))
def test_parts_are_well_formed(name: str, own_folder: Path) -> None:
    split = read(name, own_folder)
    for part in filter(None, split[:3]):
        if are_vectors(split):
            assert part.images.dtype == np.float32
            assert np.isfinite(part.images).all()
        else:
            assert part.images.dtype == np.uint8
            assert part.images.ndim == 4
            assert part.images.shape[3] in {1, 3}
        assert part.images.shape[0] == len(part.labels) > 0
        assert part.labels.dtype == np.int64
        assert sorted(set(part.labels.tolist())) == list(range(len(part.classes)))
        assert len(set(part.classes)) == len(part.classes) >= 2
        assert part.texts is None or (len(part.texts) == len(part.classes) and all(part.texts))


@pytest.mark.parametrize("name", entries("datasets"))
def test_sides_share_no_class_and_look_alike(name: str, own_folder: Path) -> None:
    split = read(name, own_folder)
    assert not set(split.train.classes) & set(split.test.classes)
    assert split.train.images.shape[1:] == split.test.images.shape[1:]
    assert (split.train.texts is None) == (split.test.texts is None)
    if split.gallery is not None:
        assert split.gallery.classes[: len(split.test.classes)] == split.test.classes
        assert not set(split.train.classes) & set(split.gallery.classes)


@pytest.mark.parametrize("name", entries("datasets"))
def test_the_digest_is_that_of_the_split(name: str, own_folder: Path) -> None:
    split = read(name, own_folder)
    assert split.sha == digest(split)


@pytest.mark.parametrize("name", entries("datasets"))
def test_the_label_is_one_sentence_with_a_name(name: str) -> None:
    entry = entries("datasets")[name]
    assert entry.label.endswith(".")
    assert entry.positional == ("data",)


def test_reading_a_dataset_needs_no_torch() -> None:
    heavy = "{'torch', 'timm', 'faiss', 'pandas'}"
    modules = ", ".join(sorted({entry.module for entry in entries("datasets").values()}))
    code = f"import sys, {modules}; print({heavy} & set(sys.modules))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
