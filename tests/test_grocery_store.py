import csv
import os
import shutil
from collections import Counter
from itertools import cycle, islice
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from bench.datasets.grocery_store import COLUMNS, grocery_store
from bench.datasets.split import DataError, Images, Split

SIDES = {0: range(35), 1: range(35, 81)}
"""Coarse id modulo 2 -> fine ids of the generated set."""
PHOTOS = {"train": (1198, 1442), "val": (136, 160), "test": (1144, 1341)}
"""List -> photos of coarse classes of even and of odd id, as published."""


def coarse(fine: int) -> int:
    return 2 * (fine % 22) if fine in SIDES[0] else 2 * (fine % 21) + 1


def colour(fine: int) -> tuple[int, int, int]:
    return 3 * fine, 255 - 3 * fine, 40 * (fine % 7)


def described(root: Path, fine: int) -> list[str]:
    """The line of a class in classes.csv; writes its description."""
    description = f"/texts/class {fine}.txt"
    (root / description[1:]).write_text(f"Frukt på  bild\nno. {fine}.\n\n", encoding="utf-8")
    return [f"class {fine}", str(fine), f"coarse {coarse(fine)}", str(coarse(fine)), "/icons/none.jpg", description]


def listed(root: Path, name: str) -> list[str]:
    """The lines of a list; its photos, of one colour a class, are links to one file a class."""
    lines = []
    for parity, count in enumerate(PHOTOS[name]):
        for number, fine in enumerate(islice(cycle(SIDES[parity]), count)):
            place = root / name / f"class {fine}" / f"{number}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(root / "texts" / f"{fine}.jpg", place)
            lines.append(f"{place.relative_to(root).as_posix()}, {fine}, {coarse(fine)}\n")
    return lines


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official layout with as many classes and photos as the official set."""
    data = tmp_path_factory.mktemp("data")
    root = data / "grocery_store" / "dataset"
    (root / "texts").mkdir(parents=True)
    with (root / "classes.csv").open("w", encoding="utf-8", newline="") as table:
        csv.writer(table).writerows([COLUMNS, *(described(root, fine) for fine in range(81))])
    for fine in range(81):
        Image.new("RGB", (12, 10), colour(fine)).save(root / "texts" / f"{fine}.jpg")
    for name in PHOTOS:
        (root / f"{name}.txt").write_text("".join(listed(root, name)), encoding="utf-8")
    return data


@pytest.fixture
def own(made: Path, tmp_path: Path) -> Path:
    """The folder of the set to damage; folders of photos are links to those of the set made, see `unlinked`."""
    source, root = (data / "grocery_store" / "dataset" for data in (made, tmp_path))
    shutil.copytree(source, root, ignore=lambda *_: list(PHOTOS))
    for folder in (place for name in PHOTOS for place in (source / name).iterdir()):
        place = root / folder.relative_to(source)
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(folder)
    return root


def unlinked(folder: Path) -> Path:
    """A linked folder, made a copy in its place."""
    photos = folder.resolve()
    folder.unlink()
    return shutil.copytree(photos, folder)


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def read(root: Path) -> Split:
    return grocery_store(root.parents[1], size=8)


def shown(part: Images) -> list[int]:
    """The fine id of the colour that each picture shows."""
    known = np.array([colour(fine) for fine in range(81)])
    pixels = part.images[:, 4, 4].astype(int)
    return [int(np.abs(known - pixel).sum(axis=1).argmin()) for pixel in pixels]


def test_whole_coarse_classes_are_apart_and_the_test_list_queries(made: Path) -> None:
    split = grocery_store(made, size=8)
    assert split.gallery is not None
    sizes = {0: [(2478, split.train)], 1: [(1341, split.test), (1602, split.gallery)]}
    for parity, parts in sizes.items():
        for count, part in parts:
            assert part.images.shape == (count, 8, 8, 3)
            assert part.classes == tuple(f"class {fine}" for fine in SIDES[parity])
            assert part.texts == tuple(f"Frukt på bild no. {fine}." for fine in SIDES[parity])
            assert shown(part) == [SIDES[parity][label] for label in part.labels]


def test_all_compares_every_test_photo_with_all_others(made: Path) -> None:
    lists, every = grocery_store(made, size=8), grocery_store(made, size=8, protocol="all")
    assert lists.gallery is not None
    assert every.gallery is None
    assert every.test.images.shape == (2943, 8, 8, 3)
    assert shown(every.test) == [SIDES[1][label] for label in every.test.labels]
    parts = (lists.test, lists.gallery)
    assert Counter(every.test.labels.tolist()) == Counter(label for part in parts for label in part.labels.tolist())
    assert (every.test.classes, every.test.texts) == (lists.test.classes, lists.test.texts)
    np.testing.assert_array_equal(every.train.images, lists.train.images)


def test_a_clone_of_the_repository_and_line_ends_of_windows_are_read_alike(own: Path) -> None:
    before = read(own).sha
    for name in ("train", "val", "test"):
        text = (own / f"{name}.txt").read_bytes()
        (own / f"{name}.txt").write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    own.parent.rename(own.parents[1] / "GroceryStoreDataset")
    assert grocery_store(own.parents[1], size=8).sha == before


def test_a_changed_photo_is_read_again(own: Path) -> None:
    first = read(own)
    assert read(own).sha == first.sha
    Image.new("RGB", (20, 20), colour(3)).save(unlinked(own / "test" / "class 40") / "5.jpg")
    changed = [one for one, two in zip(shown(read(own).test), shown(first.test), strict=True) if one != two]
    assert changed == [3]


def test_a_changed_description_is_read_again(own: Path) -> None:
    read(own)
    (own / "texts" / "class 36.txt").write_bytes(b"Another text.")
    split = read(own)
    assert split.test.texts is not None
    assert split.test.texts[1] == "Another text."


def test_a_changed_class_is_read_again(own: Path) -> None:
    before = np.bincount(read(own).test.labels)
    edit(own / "test.txt", "test/class 40/5.jpg, 40, 39", "test/class 40/5.jpg, 41, 41")
    assert (np.bincount(read(own).test.labels) - before)[[5, 6]].tolist() == [-1, 1]


def test_missing_data_says_where_it_comes_from_and_goes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder .*grocery_store/dataset: get the set from https://\S+ and put"):
        grocery_store(tmp_path)
    with pytest.raises(DataError, match="--data DIR or set BENCH_DATA"):
        grocery_store(None)


@pytest.mark.parametrize("name", ["classes.csv", "train.txt", "val.txt", "test.txt"])
def test_a_missing_list_is_a_sentence(own: Path, name: str) -> None:
    (own / name).unlink()
    with pytest.raises(DataError, match=rf"{name} cannot be read \(No such file.*\): get it again from https"):
        read(own)


@pytest.mark.parametrize("name", ["classes.csv", "val.txt"])
def test_a_list_in_another_encoding_is_a_sentence(own: Path, name: str) -> None:
    (own / name).write_bytes((own / name).read_bytes() + "päron".encode("latin-1"))
    with pytest.raises(DataError, match=rf"{name} cannot be read \(.*utf-8.*\): get it again from https"):
        read(own)


@pytest.mark.parametrize("name", ["classes.csv", "train.txt", "val.txt", "test.txt"])
def test_an_empty_list_is_a_sentence(own: Path, name: str) -> None:
    (own / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"get (it|them) again from https"):
        read(own)


@pytest.mark.parametrize(("old", "new", "sentence"), [
    ("Class ID (int)", "Class", "does not begin with the columns Class Name"),
    ("class 3,3,", "class 3,three,", "a line 'class 3,three,.* does not fit its columns"),
    ("class 3,3,", "3,", "a line '3,coarse 6.* does not fit its columns"),
    ("class 3,3,", "class 4,3,", "does not have 81 classes of different names and ids"),
    ("class 3,3,", "class 3,4,", "does not have 81 classes of different names and ids"),
    (",/texts/class 3.txt", ",/texts/class 99.txt", "class 99.txt, the description of class 3, is missing or empty"),
    (",/texts/class 3.txt", ",", "the description of class 3, is missing or empty"),
    (",/texts/class 3.txt", ",/../../../secret.txt", "names '../../../secret.txt', which is outside its folder"),
    (",/texts/class 3.txt", ",//texts/class 3.txt", "names '/texts/class 3.txt', which is outside its folder"),
])  # fmt: skip
def test_a_table_of_classes_that_does_not_fit_is_a_sentence(own: Path, old: str, new: str, sentence: str) -> None:
    edit(own / "classes.csv", old, new)
    with pytest.raises(DataError, match=f"{sentence}.*: get it again from https"):
        read(own)


@pytest.mark.parametrize("content", [b" \n", b"\xe5"])
def test_a_description_that_says_nothing_is_a_sentence(own: Path, content: bytes) -> None:
    (own / "texts" / "class 80.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"class 80.txt, the description of class 80, is missing or empty"):
        read(own)


@pytest.mark.parametrize(("line", "sentence"), [
    ("test/class 40/5.jpg, 40", "a line 'test/class 40/5.jpg, 40' that is not a path, a class id and its coarse id"),
    ("test/class 40/5.jpg, x, 39", "that is not a path, a class id and its coarse id"),
    ("test/class 40/5.jpg, 81, 39", "that is not a path, a class id and its coarse id"),
    ("test/class 40/5.jpg, 40, 38", "that is not a path, a class id and its coarse id"),
    ("../../../secret.jpg, 40, 39", "names '../../../secret.jpg', which is outside its folder"),
    ("/secret.jpg, 40, 39", "names '/secret.jpg', which is outside its folder"),
    ("test/class 0/0.jpg, 0, 0", r"35 classes with 2,479 photos for train, not 35 with 2,478"),
    ("", "46 classes with 1,340 photos for test, not 46 with 1,341"),
    ("train/class 40/5.jpg, 40, 39", "name the photo train/class 40/5.jpg 2 times"),
])  # fmt: skip
def test_a_list_that_does_not_fit_is_a_sentence(own: Path, line: str, sentence: str) -> None:
    edit(own / "test.txt", "test/class 40/5.jpg, 40, 39", line)
    with pytest.raises(DataError, match=f"{sentence}.*: get (it|them) again from https"):
        read(own)


def test_a_class_without_a_query_is_a_sentence(own: Path) -> None:
    text = (own / "test.txt").read_text(encoding="utf-8")
    (own / "test.txt").write_text(text.replace(", 40, 39\n", ", 41, 41\n"), encoding="utf-8")
    with pytest.raises(DataError, match="45 classes with 1,341 photos for test, not 46 with 1,341"):
        read(own)


def test_an_absent_photo_is_a_sentence(own: Path) -> None:
    folder = unlinked(own / "test" / "class 40")
    for number in (5, 51):
        (folder / f"{number}.jpg").unlink()
    with pytest.raises(
        DataError, match=r"lacks 2 of its 5,421 photos, such as test/class 40/5.jpg: get them from https"
    ):
        read(own)


def test_an_unreadable_photo_is_a_sentence(own: Path) -> None:
    place = unlinked(own / "test" / "class 40") / "5.jpg"
    place.write_bytes(place.read_bytes()[:100])
    with pytest.raises(
        DataError, match=r"1 photo\(s\) that cannot be read, such as test/class 40/5.jpg: get them from"
    ):
        read(own)


@pytest.fixture(scope="module")
def real(shared: Path) -> Path:
    if not (shared / "data" / "grocery_store" / "dataset" / "classes.csv").exists():
        pytest.skip("BENCH_SHARED has no data/grocery_store")
    return shared / "data"


def test_the_real_set(real: Path) -> None:
    split = grocery_store(real, size=32)
    assert split.gallery is not None
    assert [len(part.classes) for part in (split.train, split.test, split.gallery)] == [35, 46, 46]
    assert [len(part.labels) for part in (split.train, split.test, split.gallery)] == [2478, 1341, 1602]
    assert not set(split.train.classes) & set(split.test.classes)
    assert {"Golden-Delicious", "Banana", "Zucchini"} < set(split.train.classes)
    assert {"Avocado", "Oatly-Natural-Oatghurt", "Vine-Tomato"} < set(split.test.classes)
    assert split.test.texts is not None
    assert split.train.texts is not None
    texts = dict(zip(split.test.classes, split.test.texts, strict=True))
    assert texts["Beef-Tomato"].startswith("An extra large tomato suitable")
    words = [len(text.split()) for text in split.train.texts + split.test.texts]
    assert (min(words), max(words)) == (6, 91)


def floor(split: Split, *, gray: bool) -> float:
    """Recall@1 of raw pixels under cosine similarity; gray ones less the mean of all test pictures."""
    gallery = split.test if split.gallery is None else split.gallery
    queries, candidates = (part.images.astype(np.float64) for part in (split.test, gallery))
    if gray:
        queries, candidates = queries @ [0.299, 0.587, 0.114], candidates @ [0.299, 0.587, 0.114]
        mean = np.concatenate([queries, candidates]).mean(axis=0)
        queries, candidates = queries - mean, candidates - mean
    one, two = (pixels.reshape(len(pixels), -1) for pixels in (queries, candidates))
    similarity = (one / np.linalg.norm(one, axis=1)[:, None]) @ (two / np.linalg.norm(two, axis=1)[:, None]).T
    if split.gallery is None:
        np.fill_diagonal(similarity, -1)
    return float((gallery.labels[similarity.argmax(axis=1)] == split.test.labels).mean())


@pytest.mark.parametrize(("protocol", "gray", "recall"), [
    ("lists", True, 0.087), ("lists", False, 0.182), ("all", False, 0.523),
])  # fmt: skip
def test_raw_pixels_find_what_they_are_known_to(
    real: Path, protocol: Literal["lists", "all"], gray: bool, recall: float
) -> None:
    """The known figures are of whole photos squeezed to a square, here it is their middle; nine in ten are square."""
    assert floor(grocery_store(real, size=32, protocol=protocol), gray=gray) == pytest.approx(recall, abs=0.006)
