"""What is wrong with a published set is one sentence: lists, counts, classes and photos that are not as published."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from support.published_sets import SETS, Parts, Small, made, mixed
from support.sample_photos import edit, spoil

from bench.datasets.split import DataError

LISTS = [(name, file) for name, published in SETS.items() for file in published.lists]
ROW = 1
"""The row of the train part that is spoilt."""


@pytest.fixture(params=SETS)
def small(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    return made(request.param, tmp_path, monkeypatch)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Small]:
    return lambda name: made(name, tmp_path, monkeypatch)


def with_row(parts: Parts, path: str | None = None, one: int | None = None) -> Parts:
    """Another path or class in a row of the train part."""
    rows = list(parts["train"])
    rows[ROW] = (path or rows[ROW][0], one or rows[ROW][1])
    return {**parts, "train": rows}


def refused(small: Small, sentence: str) -> None:
    with pytest.raises(DataError, match=rf"{sentence}.*: get (it|them|both|the set) (again )?from https://\S+"):
        small.read()


def test_a_missing_set_says_where_it_comes_from_and_goes(small: Small, tmp_path: Path) -> None:
    place = small.published.places[0]
    with pytest.raises(DataError, match=rf"{small.name} has no folder \S+/{place}: get the set from https://\S+.* put"):
        small.published.load(tmp_path / "other")
    with pytest.raises(DataError, match=rf"{small.name} needs .*--data DIR or set BENCH_DATA"):
        small.published.load(None)


@pytest.mark.parametrize(("name", "file"), LISTS)
def test_a_missing_list(make: Callable[[str], Small], name: str, file: str) -> None:
    small = make(name)
    (small.root / file).unlink()
    refused(small, rf"{file} cannot be read .*\(No such file.*\)")


@pytest.mark.parametrize(("name", "file"), LISTS)
@pytest.mark.parametrize("kept", [0, 0.02, 0.5])
def test_a_list_cut_short(make: Callable[[str], Small], name: str, file: str, kept: float) -> None:
    small = make(name)
    content = (small.root / file).read_bytes()
    (small.root / file).write_bytes(content[: int(kept * len(content))])
    refused(small, "cannot be read as the" if file.endswith(".mat") else "")


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, file in LISTS if not file.endswith(".mat")])
def test_a_list_in_another_encoding(make: Callable[[str], Small], name: str, file: str) -> None:
    small = make(name)
    (small.root / file).write_bytes((small.root / file).read_bytes() + "päls".encode("latin-1"))
    refused(small, rf"{file} cannot be read \(.*utf-8.*\)")


@pytest.mark.parametrize(("name", "sentence"), [
    ("cars196", "cannot be read as the annotations of Cars196"),
    ("flowers102", r"cannot be read as the labels of Flowers102 \('labels'\)"),
])  # fmt: skip
def test_annotations_of_another_set(make: Callable[[str], Small], name: str, sentence: str) -> None:
    small = make(name)
    savemat(small.root / small.published.lists[0], {"annotations": np.arange(5), "class_names": np.arange(4)})
    refused(small, sentence)


def test_a_photo_too_few_in_the_list(small: Small) -> None:
    small.rewrite(lambda parts: {**parts, "train": parts["train"][1:]})
    sentences = {
        "inshop": r"does not begin with the line\(s\) 15 / image_name item_id evaluation_status",
        "flowers102": "has 11 labels, of 4 classes, not 12 of the classes 1 to 4",
        "oxford_pets": "has 11 photos of 4 classes, not 12 of the classes 1 to 4",
    }
    refused(small, sentences.get(small.name, "have 2 classes with 5 photos for train, not 2 with 6"))


def test_a_class_too_few(small: Small) -> None:
    three, four = (small.published.name.format(id=one) for one in (3, 4))
    small.rewrite(lambda parts: {part: [(path.replace(four, three), min(one, 3)) for path, one in rows]
                                 for part, rows in parts.items()})  # fmt: skip
    sentences = {
        "flowers102": "has 12 labels, of 3 classes, not 12 of the classes 1 to 4",
        "oxford_pets": "has 12 photos of 3 classes, not 12 of the classes 1 to 4",
        "grocery_store": "does not have 4 classes of different names and ids",
    }
    refused(small, sentences.get(small.name, "have 1 classes with [64] photos for test, not 2 with [64]"))


@pytest.mark.parametrize("name", ["sop", "inshop"])
def test_a_class_on_both_sides(make: Callable[[str], Small], name: str) -> None:
    """The other sets are split by the number of the class, which no list can put on both sides."""
    small = make(name)
    small.rewrite(lambda parts: with_row(parts, one=3))
    refused(small, r"1 class\(es\) on both the train and the test side, such as (coffee_maker 3|id_00000003)")


def test_an_item_without_a_query(make: Callable[[str], Small]) -> None:
    small = make("inshop")
    small.rewrite(
        lambda parts: {**parts, "gallery": [(path, 5 if one == 3 else one) for path, one in parts["gallery"]]}
    )
    refused(small, r"2 class\(es\) on only one of query and gallery, such as id_00000003")


@pytest.mark.parametrize("name", [name for name in SETS if name != "flowers102"])
def test_a_photo_listed_twice(make: Callable[[str], Small], name: str) -> None:
    small = make(name)
    path, one = next(row for row in small.parts["train"] if row != small.parts["train"][ROW])
    small.rewrite(lambda parts: with_row(parts, path, one))
    refused(small, f"name the photo {path} 2 times")


@pytest.mark.parametrize("name", [name for name in SETS if name not in {"flowers102", "oxford_pets"}])
@pytest.mark.parametrize("path", ["../../../secret1.jpg", "/secret1.jpg"])
def test_a_path_that_leaves_the_folder(make: Callable[[str], Small], name: str, path: str) -> None:
    """The other two sets build their paths from names."""
    small = make(name)
    small.rewrite(lambda parts: with_row(parts, path))
    refused(small, f"names '(images/|Img/)?{path}', which is outside its folder")


def test_a_listed_photo_that_is_absent(small: Small) -> None:
    path, _ = small.parts["train"][ROW]
    (small.root / path).unlink()
    total = sum(len(rows) for rows in small.parts.values())
    refused(small, f"lacks 1 of its {total} photos, such as {path}")


def test_photos_that_are_not_unpacked(small: Small) -> None:
    folder = small.root / small.parts["train"][ROW][0].partition("/")[0]
    folder.rename(folder.with_name("elsewhere"))
    total = sum(len(rows) for rows in small.parts.values())
    refused(small, f"lacks {total} of its {total} photos, such as {folder.name}/")


def test_a_photo_that_cannot_be_read(small: Small) -> None:
    path, _ = small.parts["train"][ROW]
    spoil(small.root / path)
    refused(small, rf"1 photo\(s\) that cannot be read, such as {path}")


@pytest.mark.parametrize(("name", "file", "old", "new", "sentence"), [
    ("cub200", "classes.txt", "3 003.Bird", "3", "a line '3' that does not fit its columns"),
    ("cub200", "classes.txt", "3 003.Bird", "three 003.Bird", "a line 'three 003.Bird' that does not fit its columns"),
    ("cub200", "classes.txt", "3 003.Bird", "3 002.Bird", "do not give each class a name of its own"),
    ("cub200", "images.txt", " {bare}\n", "\n", "a line '{place}' that does not fit its columns"),
    ("cub200", "images.txt", "\n{place} {bare}", "\n13 {bare}", "number different photos"),
    ("cub200", "images.txt", "\n{place} {bare}", "", "number different photos"),
    ("cub200", "labels.txt", "\n{place} {one}", "\n{place} Bird", "a line '{place} Bird' that does not fit"),
    ("cub200", "labels.txt", "\n{place} {one}", "\n{place} 3", "2 classes with 5 photos for train, not 2 "),
    ("cub200", "labels.txt", "\n{place} {one}", "\n{place} 0", "do not give each class a name of its own"),
    ("sop", "train.txt", "image_id class_id super_class_id path\n", "", r"does not begin with the line\(s\) image"),
    ("sop", "train.txt", "2 {one} 1 {path}", "2 {one} 1", "a line '2 {one} 1' that does not fit its columns"),
    ("sop", "train.txt", "2 {one} 1 {path}", "2 two 1 {path}", "a line '2 two 1 {path}' that does not fit its col"),
    ("sop", "train.txt", "2 {one} 1 {path}", "2 5 1 {path}", "3 classes with 6 photos for train, not 2 with 6"),
    ("inshop", "partition.txt", "15\n", "16\n", r"does not begin with the line\(s\) 15 / image_name item"),
    ("inshop", "partition.txt", "image_name", "name", r"does not begin with the line\(s\) 15 / image_na"),
    ("inshop", "partition.txt", " id_00000002  t", "  t", "a line 'img.*train.*' that does not fit its col"),
    ("inshop", "partition.txt", " id_00000002", " id_2nd", "a line 'img.* id_2nd .*' that does not fit its"),
    ("inshop", "partition.txt", " id_00000002", " 00000002", "a line 'img.* 00000002  train.*' that does"),
    ("inshop", "partition.txt", "  train", " test", "a line 'img.* test.*' that does not fit its columns"),
    ("inshop", "partition.txt", " id_00000002  train", " id_00000009  train", "3 classes with 6 photos f"),
    ("inshop", "partition.txt", " id_00000002  train", " id_00000003  query", "2 classes with 5 photos f"),
    ("oxford_pets", "list.txt", "{stem} {one} ", "{stem} 5 ", "has 12 photos of 5 classes, not 12 of the c"),
    ("oxford_pets", "list.txt", "{stem} {one} ", "{stem} {one} 1 ", "a line '{stem} .*' that does not fit i"),
    ("oxford_pets", "list.txt", "{stem} {one} ", "{stem} four ", "a line '.* four .*' that does not fit its"),
    ("oxford_pets", "list.txt", "{stem} {one} ", "{stem} 3 ", "the class 3, which is Long_hair_"),
])  # fmt: skip
def test_a_line_that_does_not_fit(
    make: Callable[[str], Small], name: str, file: str, old: str, new: str, sentence: str
) -> None:
    small = make(name)
    path, one = row = small.parts["train"][ROW]
    words = {"path": path, "bare": path.removeprefix("images/"), "stem": Path(path).stem, "one": one,
             "place": mixed(small.parts).index(row) + 1}  # fmt: skip
    (place,) = (small.root / one for one in small.published.lists if one.endswith(file))
    edit(place, old.format(**words), new.format(**words))
    refused(small, sentence.format(**words))


@pytest.mark.parametrize("names", [["Ant", "Bee", "Cat"], ["Ant", "Bee", "Cat", "Ant"]])
def test_classes_of_cars196_without_a_name_of_their_own(make: Callable[[str], Small], names: list[str]) -> None:
    small = make("cars196")
    fields = [("relative_im_path", object), ("class", object)]
    rows = np.array(mixed(small.parts), dtype=fields)
    savemat(small.root / "cars_annos.mat", {"annotations": rows[None], "class_names": np.array(names, object)[None]})
    refused(small, "do not give each class a name of its own")


def test_labels_of_flowers102_that_begin_at_0(make: Callable[[str], Small]) -> None:
    small = make("flowers102")
    labels = [one - 1 for _, one in mixed(small.parts)]
    savemat(small.root / "imagelabels.mat", {"labels": np.array([labels], np.uint8)})
    refused(small, "has 12 labels, of 4 classes, not 12 of the classes 1 to 4")
