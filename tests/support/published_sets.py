"""The published sets in their official layouts, with any number of classes and generated photos."""

import csv
import re
from collections.abc import Callable
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy.io import savemat
from support.sample_photos import lay

from bench.datasets.cars196 import cars196
from bench.datasets.cub200 import cub200
from bench.datasets.flowers102 import flowers102
from bench.datasets.grocery_store import COLUMNS, grocery_store
from bench.datasets.inshop import inshop
from bench.datasets.oxford_pets import oxford_pets
from bench.datasets.sop import HEADER, sop
from bench.datasets.split import Split

Rows = list[tuple[str, int]]
"""Path below the folder of the set, and class id."""
Parts = dict[str, Rows]
Counts = dict[str, tuple[int, int]]
"""Classes and photos of each part."""


class Published(NamedTuple):
    load: Callable[..., Split]
    places: tuple[str, ...]
    """Folders below that of the data sets that are found, the one of the sentences first."""
    lists: tuple[str, ...]
    write: Callable[[Path, Parts], None]
    """Writes the lists of a folder."""
    photo: str
    """Path of a photo, by its number and its class id."""
    name: str
    """Name of a class, by its id."""
    constants: Callable[[Counts], dict[str, Any]]
    """What the loader's file has for sets of other counts."""
    small: Counts


def parts_of(published: Published, counts: Counts) -> Parts:
    """Classes from 1 on take turns; photos of all parts are mixed, and lie in a part in the order of their numbers."""
    bounds = pairwise(accumulate((photos for _, photos in counts.values()), initial=0))
    mixed = np.random.default_rng(0).permutation(sum(photos for _, photos in counts.values())) + 1
    parts = {}
    for (part, (classes, _)), (start, end) in zip(counts.items(), bounds, strict=True):
        first = 1 if part == "train" else counts["train"][0] + 1
        numbers = sorted(mixed[start:end].tolist())
        named = ((number, first + turn % classes) for turn, number in enumerate(numbers))
        parts[part] = [(published.photo.format(number=number, id=one), one) for number, one in named]
    return parts


def counts_of(parts: Parts) -> Counts:
    return {part: (len({one for _, one in rows}), len(rows)) for part, rows in parts.items()}


def laid(published: Published, data: Path, parts: Parts, *, place: int = 0) -> Path:
    """The folder of a set with its lists and photos."""
    root = data / published.places[place]
    root.mkdir(parents=True)
    published.write(root, parts)
    lay(root, (row for rows in parts.values() for row in rows))
    return root


def write(file: Path, lines: list[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def mixed(parts: Parts) -> Rows:
    """All photos, by their numbers."""
    rows = [row for named in parts.values() for row in named]
    return sorted(rows, key=lambda row: int(re.findall(r"\d+", row[0])[-1]))


def ids(parts: Parts) -> list[int]:
    return sorted({one for rows in parts.values() for _, one in rows})


def _cub200(root: Path, parts: Parts) -> None:
    rows = list(enumerate(mixed(parts), start=1))
    write(root / "classes.txt", [f"{one} {SETS['cub200'].name.format(id=one)}" for one in ids(parts)])
    write(root / "images.txt", [f"{place} {path.removeprefix('images/')}" for place, (path, _) in rows])
    write(root / "image_class_labels.txt", [f"{place} {one}" for place, (_, one) in reversed(rows)])


def _cars196(root: Path, parts: Parts) -> None:
    fields = ["relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "test"]
    rows = np.array([(path, 1, 1, 9, 9, one, turn % 2) for turn, (path, one) in enumerate(mixed(parts))],
                    dtype=[(field, object) for field in fields])  # fmt: skip
    names = np.array([f"Car C/V {one}" for one in ids(parts)], object)
    savemat(root / "cars_annos.mat", {"annotations": rows[None], "class_names": names[None]})


def _sop(root: Path, parts: Parts) -> None:
    for part, rows in parts.items():
        lines = [f"{turn} {one} 1 {path}" for turn, (path, one) in enumerate(rows, start=1)]
        write(root / f"Ebay_{part}.txt", [*HEADER, *lines])


def _inshop(root: Path, parts: Parts) -> None:
    status = {"train": "train", "test": "query", "gallery": "gallery"}
    lines = [f"{path.removeprefix('Img/'):<80} id_{one:08}  {status[part]:<8}"
             for part, rows in parts.items() for path, one in rows]  # fmt: skip
    write(root / "Eval/list_eval_partition.txt", [str(len(lines)), "image_name item_id evaluation_status", *lines])


def _flowers102(root: Path, parts: Parts) -> None:
    savemat(root / "imagelabels.mat", {"labels": np.array([[one for _, one in mixed(parts)]], np.uint8)})


def _oxford_pets(root: Path, parts: Parts) -> None:
    comments = ["#Image CLASS-ID SPECIES BREED ID", "#ID: 1:37 Class ids", "#SPECIES: 1:Cat 2:Dog"]
    lines = [f"{Path(path).stem} {one} {one % 2 + 1} {one // 2}" for path, one in mixed(parts)]
    write(root / "annotations/list.txt", [*comments, *lines])


def _grocery_store(root: Path, parts: Parts) -> None:
    coarse = {one: 2 * one + (part != "train") for part, rows in parts.items() for _, one in rows}
    with (root / "classes.csv").open("w", encoding="utf-8", newline="") as table:
        csv.writer(table).writerow(COLUMNS)
        for one in ids(parts):
            text = f"texts/{one}.txt"
            write(root / text, [f"Frukt på  bild\nno. {one}.\n"])
            csv.writer(table).writerow(
                [f"class {one}", one, f"kind {coarse[one]}", coarse[one], "/none.jpg", f"/{text}"]
            )
    train, test, gallery = parts.values()
    third, half = len(train) // 3, len(gallery) // 2
    lists = {"train": train[:third] + gallery[:half], "val": gallery[half:] + train[third : 2 * third],
             "test": test + train[2 * third :]}  # fmt: skip
    for name, rows in lists.items():
        write(root / f"{name}.txt", [f"{path}, {one}, {coarse[one]}" for path, one in rows])


NO_GALLERY = {"train": (2, 6), "test": (2, 6)}
GALLERY = {"train": (2, 6), "test": (2, 4), "gallery": (2, 5)}
SETS = {
    "cub200": Published(
        load=cub200,
        places=("cub200/CUB_200_2011", "CUB_200_2011"),
        lists=("classes.txt", "images.txt", "image_class_labels.txt"),
        write=_cub200,
        photo="images/{id:03}.Bird/{number}.jpg",
        name="{id:03}.Bird",
        constants=lambda counts: {"COUNTS": counts},
        small=NO_GALLERY,
    ),
    "cars196": Published(
        load=cars196,
        places=("cars196",),
        lists=("cars_annos.mat",),
        write=_cars196,
        photo="car_ims/{number:06}.jpg",
        name="Car C/V {id}",
        constants=lambda counts: {"COUNTS": counts},
        small=NO_GALLERY,
    ),
    "sop": Published(
        load=sop,
        places=("sop/Stanford_Online_Products", "Stanford_Online_Products"),
        lists=("Ebay_train.txt", "Ebay_test.txt"),
        write=_sop,
        photo="coffee_maker_final/{number}_0.JPG",
        name="coffee_maker {id}",
        constants=lambda counts: {"COUNTS": counts},
        small=NO_GALLERY,
    ),
    "inshop": Published(
        load=inshop,
        places=("inshop/In-shop Clothes Retrieval Benchmark", "In-shop Clothes Retrieval Benchmark", "inshop"),
        lists=("Eval/list_eval_partition.txt",),
        write=_inshop,
        photo="Img/img/WOMEN/Dresses/id_{id:08}/{number:05}.jpg",
        name="id_{id:08}",
        constants=lambda counts: {"COUNTS": counts},
        small=GALLERY,
    ),
    "flowers102": Published(
        load=flowers102,
        places=("flowers102", "flowers-102"),
        lists=("imagelabels.mat",),
        write=_flowers102,
        photo="jpg/image_{number:05}.jpg",
        name="{id}",
        constants=lambda counts: {**_sums(counts), "SIDE": counts["train"][0]},
        small=NO_GALLERY,
    ),
    "oxford_pets": Published(
        load=oxford_pets,
        places=("oxford_pets", "oxford-iiit-pet"),
        lists=("annotations/list.txt",),
        write=_oxford_pets,
        photo="images/Long_hair_{id}_{number}.jpg",
        name="Long_hair_{id}",
        constants=lambda counts: {**_sums(counts), "SIDES": {part: classes for part, (classes, _) in counts.items()}},
        small=NO_GALLERY,
    ),
    "grocery_store": Published(
        load=grocery_store,
        places=("grocery_store/dataset", "GroceryStoreDataset/dataset"),
        lists=("classes.csv", "train.txt", "val.txt", "test.txt"),
        write=_grocery_store,
        photo="photos/class {id}/{number}.jpg",
        name="class {id}",
        constants=lambda counts: {"COUNTS": counts, "CLASSES": _sums(counts)["CLASSES"]},
        small=GALLERY,
    ),
}


def _sums(counts: Counts) -> dict[str, int]:
    return {
        "CLASSES": counts["train"][0] + counts["test"][0],
        "PHOTOS": sum(photos for _, photos in counts.values()),
    }


class Small(NamedTuple):
    name: str
    published: Published
    parts: Parts
    root: Path

    def read(self) -> Split:
        return self.published.load(self.root.parents[self.published.places[0].count("/")], size=8)

    def rewrite(self, change: Callable[[Parts], Parts]) -> None:
        self.published.write(self.root, change(self.parts))


def expect(monkeypatch: pytest.MonkeyPatch, name: str, counts: Counts) -> None:
    for constant, value in SETS[name].constants(counts).items():
        monkeypatch.setattr(f"bench.datasets.{name}.{constant}", value)


def made(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    """Two classes on either side, with a few photos."""
    published = SETS[name]
    expect(monkeypatch, name, published.small)
    parts = parts_of(published, published.small)
    return Small(name, published, parts, laid(published, tmp_path, parts))
