import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.sample_photos import colour, lay, shown, spoil

from bench.datasets.files.published_lists import Listed, Photo, find_folder, read_list
from bench.datasets.files.published_photos import split_of
from bench.datasets.split import DataError, Split

COUNTS = {"train": (3, 12), "test": (2, 6), "gallery": (2, 4)}
FIRST = {"train": 1, "test": 20, "gallery": 20}
SOURCE = "https://example.org/set"


@pytest.fixture
def listed(tmp_path: Path) -> Listed:
    """A set with queries and a gallery; the classes of each part take turns in its list, the highest first."""
    parts = {
        part: [Photo(f"{part}/{n}.jpg", FIRST[part] + (-n - 1) % classes) for n in range(photos)]
        for part, (classes, photos) in COUNTS.items()
    }
    for photos in parts.values():
        lay(tmp_path / "set", photos)
    names = {one: f"class {one}" for one in (1, 2, 3, 20, 21, 22)}
    return Listed("noise", SOURCE, tmp_path / "set", parts, names)


def read(listed: Listed) -> Split:
    counts = {part: COUNTS[part] for part in listed.parts}
    return split_of(listed, counts=counts, size=8)


def changed(listed: Listed, part: str, index: int, photo: Photo) -> Listed:
    photos = list(listed.parts[part])
    photos[index] = photo
    return listed._replace(parts={**listed.parts, part: photos})


def relabelled(listed: Listed, part: str, old: int, new: int) -> Listed:
    photos = [Photo(path, new if one == old else one) for path, one in listed.parts[part]]
    return listed._replace(parts={**listed.parts, part: photos})


def without_gallery(listed: Listed) -> Listed:
    return listed._replace(parts={part: listed.parts[part] for part in ("train", "test")})


def test_pictures_labels_and_names_belong_together(listed: Listed) -> None:
    split = read(listed)
    assert split.gallery is not None
    for name, part in zip(COUNTS, split[:3], strict=True):
        assert part.images.shape == (COUNTS[name][1], 8, 8, 3)
        assert part.labels.dtype == np.int64
        ids = [photo.class_id for photo in listed.parts[name]]
        assert shown(part) == ids
        assert [part.classes[label] for label in part.labels] == [f"class {one}" for one in ids]
    assert split.train.classes == ("class 1", "class 2", "class 3")
    assert split.gallery.classes == split.test.classes == ("class 20", "class 21")


def test_a_set_may_have_no_gallery(listed: Listed) -> None:
    split = read(without_gallery(listed))
    assert split.gallery is None
    assert shown(split.test) == [21, 20, 21, 20, 21, 20]


def test_a_changed_photo_and_a_changed_list_are_read_again(listed: Listed) -> None:
    first = read(listed)
    assert read(listed).sha == first.sha
    place = listed.root / "test" / "2.jpg"
    place.unlink()
    Image.new("RGB", (30, 20), colour(200)).save(place)
    assert shown(read(listed).test) == [21, 20, 200, 20, 21, 20]
    moved = changed(listed, "test", 2, Photo("test/2.jpg", 20))
    assert read(moved).test.labels.tolist() == [1, 0, 0, 0, 1, 0]
    renamed = listed._replace(names={**listed.names, 20: "another"})
    assert read(renamed).test.classes == ("another", "class 21")


@pytest.mark.parametrize(("spoilt", "sentence"), [
    (lambda one: changed(one, "train", 0, Photo("train/0.jpg", 20)),
     "have 1 class(es) on both the train and the test side, such as class 20"),
    (lambda one: changed(without_gallery(one), "test", 0, Photo("test/0.jpg", 2)),
     "have 1 class(es) on both the train and the test side, such as class 2"),
    (lambda one: relabelled(one, "gallery", 20, 3),
     "have 1 class(es) on both the train and the test side, such as class 3"),
    (lambda one: relabelled(one, "gallery", 20, 22),
     "have 2 class(es) on only one of query and gallery, such as class 20"),
    (lambda one: relabelled(one, "test", 21, 22),
     "have 2 class(es) on only one of query and gallery, such as class 21"),
    (lambda one: relabelled(one, "gallery", 20, 21), "have 1 classes with 4 photos for gallery, not 2 with 4"),
    (lambda one: one._replace(parts={**one.parts, "train": one.parts["train"][1:]}),
     "have 3 classes with 11 photos for train, not 3 with 12"),
    (lambda one: relabelled(one, "train", 1, 2), "have 2 classes with 12 photos for train, not 3 with 12"),
    (lambda one: changed(one, "gallery", 1, Photo("test/1.jpg", 20)),
     "name the photo test/1.jpg 2 times"),
    (lambda one: changed(one, "test", 1, Photo("test/../../secret.jpg", 20)),
     "names 'test/../../secret.jpg', which is outside its folder"),
    (lambda one: changed(one, "test", 1, Photo("/secret.jpg", 20)),
     "names '/secret.jpg', which is outside its folder"),
    (lambda one: one._replace(names={**one.names, 2: "class 1"}),
     "do not give each class a name of its own"),
    (lambda one: one._replace(names={key: name for key, name in one.names.items() if key != 21}),
     "do not give each class a name of its own"),
])  # fmt: skip
def test_lists_that_are_not_as_published_are_a_sentence(
    listed: Listed, spoilt: Callable[[Listed], Listed], sentence: str
) -> None:
    with pytest.raises(DataError) as caught:
        read(spoilt(listed))
    assert re.search(rf"{re.escape(sentence)}: get (it|them) again from {SOURCE}\.$", str(caught.value))


def test_absent_photos_are_counted(listed: Listed) -> None:
    for path in ("gallery/3.jpg", "test/4.jpg", "test/5.jpg"):
        (listed.root / path).unlink()
    with pytest.raises(DataError, match=r"lacks 3 of its 22 photos, such as test/4.jpg: get them from https"):
        read(listed)


def test_a_name_that_no_file_can_have_is_an_absent_photo(listed: Listed) -> None:
    with pytest.raises(DataError, match="lacks 1 of its 22 photos"):
        read(changed(listed, "test", 1, Photo("test/\0.jpg", 20)))


def test_broken_photos_are_counted(listed: Listed) -> None:
    spoil(listed.root / "test" / "3.jpg")
    (listed.root / "test" / "5.jpg").unlink()
    (listed.root / "test" / "5.jpg").mkdir()
    with pytest.raises(
        DataError, match=r"has 2 photo\(s\) that cannot be read, such as test/3.jpg: get them from http"
    ):
        read(listed)


def number_and_word(columns: list[str]) -> tuple[int, str]:
    number, word = columns
    return int(number), word


@pytest.mark.parametrize("content", [
    b"no word\n1 a\n2 b\n", b"\xef\xbb\xbfno word\r\n1 a\r\n\r\n2 b", b"no   word \n\n1\ta\n  2   b  \n\n",
])  # fmt: skip
def test_columns_are_parted_by_white_space(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    rows = read_list(tmp_path / "list.txt", number_and_word, source=SOURCE, header=("no word",))
    assert rows == [(1, "a"), (2, "b")]


@pytest.mark.parametrize(("content", "sentence"), [
    (None, r"list.txt cannot be read \(No such file"),
    ("päron".encode("latin-1"), r"list.txt cannot be read \(.*utf-8"),
    (b"", r"list.txt does not begin with the line\(s\) no word"),
    (b"1 a\n", r"list.txt does not begin with the line\(s\) no word"),
    (b"no word\n1 a\ntwo b\n", "list.txt has a line 'two b' that does not fit its columns"),
    (b"no word\n1\n", "list.txt has a line '1' that does not fit its columns"),
    (b"no word\n1 a b\n", "list.txt has a line '1 a b' that does not fit its columns"),
])  # fmt: skip
def test_a_list_that_cannot_be_read_is_a_sentence(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(DataError, match=f"{sentence}.*: get it again from https"):
        read_list(tmp_path / "list.txt", number_and_word, source=SOURCE, header=("no word",))


def test_the_first_place_that_is_there_is_taken(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"noise has no folder .*one: get the set from https://\S+ and put it there"):
        find_folder("noise", tmp_path, places=("one", "two"), source=SOURCE)
    for name in ("two", "one"):
        (tmp_path / name).mkdir()
        assert find_folder("noise", tmp_path, places=("one", "two"), source=SOURCE) == tmp_path / name
    with pytest.raises(DataError, match="noise needs the folder of the data sets: pass --data DIR or set BENCH_DATA"):
        find_folder("noise", None, places=("one",), source=SOURCE)
