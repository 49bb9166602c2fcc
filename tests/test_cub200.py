import shutil
from pathlib import Path

import pytest
from sample_photos import edit, lay, shown, spoil

from bench.datasets.cub200 import cub200
from bench.datasets.split import DataError, Images

LISTS = ("classes.txt", "images.txt", "image_class_labels.txt")


def rows(file: Path) -> list[list[str]]:
    return [line.split() for line in file.read_text(encoding="utf-8").splitlines()]


def laid(root: Path) -> Path:
    """Photos where the lists in a folder say."""
    labels = {number: int(label) for number, label in rows(root / LISTS[2])}
    lay(root, ((f"images/{path}", labels[number]) for number, path in rows(root / LISTS[1])))
    return root


@pytest.fixture(scope="module")
def official(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official lists, with generated photos."""
    lists = shared / "data" / "metadata" / "CUB_200_2011"
    if not lists.exists():
        pytest.skip("BENCH_SHARED has no data/metadata/CUB_200_2011")
    root = tmp_path_factory.mktemp("data") / "cub200" / "CUB_200_2011"
    root.mkdir(parents=True)
    for name in LISTS:
        shutil.copy(lists / name, root)
    return laid(root)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four classes, the first two to train, with three photos each; their lines are mixed."""
    monkeypatch.setattr("bench.datasets.cub200.COUNTS", {"train": (2, 6), "test": (2, 6)})
    root = tmp_path / "CUB_200_2011"
    root.mkdir()
    photos = [(number, number % 4 + 1) for number in range(1, 13)]
    lines = {
        "classes.txt": [f"{one} 00{one}.Bird" for one in range(1, 5)],
        "images.txt": [f"{number} 00{one}.Bird/{number}.jpg" for number, one in photos],
        "image_class_labels.txt": [f"{number} {one}" for number, one in reversed(photos)],
    }
    for name, content in lines.items():
        (root / name).write_text("\n".join(content) + "\n", encoding="utf-8")
    return laid(root)


def same(part: Images, first: int, names: list[str]) -> None:
    assert list(part.classes) == names
    assert shown(part) == [label + first for label in part.labels]
    assert part.texts is None


def test_the_official_lists(official: Path) -> None:
    split = cub200(official.parents[1], size=8)
    assert split.train.images.shape == (5864, 8, 8, 3)
    assert split.test.images.shape == (5924, 8, 8, 3)
    assert split.gallery is None
    names = [name for _, name in rows(official / "classes.txt")]
    same(split.train, 1, names[:100])
    same(split.test, 101, names[100:])
    assert {"001.Black_footed_Albatross", "100.Brown_Pelican"} < set(split.train.classes)
    assert {"101.White_Pelican", "200.Common_Yellowthroat"} < set(split.test.classes)


def test_the_first_classes_train(small: Path) -> None:
    split = cub200(small.parent, size=8)
    same(split.train, 1, ["001.Bird", "002.Bird"])
    same(split.test, 3, ["003.Bird", "004.Bird"])


def test_a_folder_of_its_own_is_read_alike(small: Path, tmp_path: Path) -> None:
    sha = cub200(tmp_path, size=8).sha
    (tmp_path / "cub200").mkdir()
    small.rename(tmp_path / "cub200" / "CUB_200_2011")
    assert cub200(tmp_path, size=8).sha == sha


def test_a_missing_set_says_where_it_comes_from_and_goes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cub200 has no folder .*CUB_200_2011: get the set from https://\S+vision"):
        cub200(tmp_path)
    with pytest.raises(DataError, match=r"cub200 needs .*--data DIR or set BENCH_DATA"):
        cub200(None)


@pytest.mark.parametrize("name", LISTS)
def test_a_missing_list_is_a_sentence(small: Path, name: str) -> None:
    (small / name).unlink()
    with pytest.raises(DataError, match=rf"{name} cannot be read \(No such file.*\): get it again from https"):
        cub200(small.parent, size=8)


@pytest.mark.parametrize(("name", "old", "new", "sentence"), [
    ("classes.txt", "3 003.Bird", "3", "a line '3' that does not fit its columns"),
    ("classes.txt", "3 003.Bird", "three 003.Bird", "a line 'three 003.Bird' that does not fit its columns"),
    ("classes.txt", "3 003.Bird", "3 002.Bird", "do not give each class a name of its own"),
    ("images.txt", "5 002.Bird/5.jpg", "5", "a line '5' that does not fit its columns"),
    ("images.txt", "5 002.Bird/5.jpg", "5 ../../secret.jpg", "names 'images/../../secret.jpg', which is outside"),
    ("images.txt", "5 002.Bird/5.jpg", "5 /secret.jpg", "names '/secret.jpg', which is outside its folder"),
    ("images.txt", "5 002.Bird/5.jpg", "13 002.Bird/5.jpg", "number different photos"),
    ("images.txt", "5 002.Bird/5.jpg", "", "number different photos"),
    ("image_class_labels.txt", "5 2\n", "5 Bird\n", "a line '5 Bird' that does not fit its columns"),
    ("image_class_labels.txt", "5 2\n", "5 3\n", "2 classes with 5 photos for train, not 2 with 6"),
    ("image_class_labels.txt", "5 2\n", "5 0\n", "do not give each class a name of its own"),
])  # fmt: skip
def test_lists_that_do_not_fit_are_a_sentence(small: Path, name: str, old: str, new: str, sentence: str) -> None:
    edit(small / name, old, new)
    with pytest.raises(DataError, match=f"{sentence}.*: get (it|them|both) again from https"):
        cub200(small.parent, size=8)


def test_an_absent_photo_is_a_sentence(small: Path) -> None:
    (small / "images/002.Bird/5.jpg").unlink()
    with pytest.raises(DataError, match=r"lacks 1 of its 12 photos, such as images/002.Bird/5.jpg: get them from http"):
        cub200(small.parent, size=8)


def test_an_unreadable_photo_is_a_sentence(small: Path) -> None:
    spoil(small / "images/003.Bird/6.jpg")
    with pytest.raises(DataError, match=r"1 photo\(s\) that cannot be read, such as images/003.Bird/6.jpg: get them"):
        cub200(small.parent, size=8)
