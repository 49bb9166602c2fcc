import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.datasets.oxford_pets import oxford_pets
from bench.datasets.split import DataError, Images

BREEDS = [f"Long_haired_{number}" if number % 2 else f"terrier_{number}" for number in range(1, 38)]
"""Names of the classes 1 to 37."""
PHOTOS = [(f"{BREEDS[number % 37]}_{number}", number % 37 + 1) for number in range(7349)]
"""Name and class id of as many photos as the official list has."""
COMMENTS = "#Image CLASS-ID SPECIES BREED ID\n#ID: 1:37 Class ids\n#SPECIES: 1:Cat 2:Dog\n"


def colour(class_id: int) -> tuple[int, int, int]:
    return 6 * class_id, 255 - 6 * class_id, 60 * (class_id % 4)


def photos(root: Path) -> None:
    """Photos of one colour a class, links to one file a class."""
    (root / "images").mkdir(parents=True)
    for class_id in range(1, 38):
        Image.new("RGB", (12, 10), colour(class_id)).save(root / f"{class_id}.jpg")
    for name, class_id in PHOTOS:
        os.link(root / f"{class_id}.jpg", root / "images" / f"{name}.jpg")


def listed(root: Path) -> Path:
    file = root / "annotations" / "list.txt"
    file.parent.mkdir(parents=True)
    lines = (f"{name} {class_id} {class_id % 2 + 1} {class_id // 2}\n" for name, class_id in PHOTOS)
    file.write_text(COMMENTS + "".join(lines), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "oxford_pets"
    photos(root)
    listed(root)
    return root.parent


@pytest.fixture
def own(made: Path, tmp_path: Path) -> Path:
    """The folder of the set to damage; its photos are those of the set made, reached through a link."""
    root = tmp_path / "oxford_pets"
    listed(root)
    (root / "images").symlink_to(made / "oxford_pets" / "images")
    return root


def edit(root: Path, old: str, new: str) -> None:
    file = root / "annotations" / "list.txt"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def shown(part: Images) -> list[str]:
    """The breed of the colour that each picture shows."""
    known = np.array([colour(class_id) for class_id in range(1, 38)])
    return [BREEDS[np.abs(known - pixel).sum(axis=1).argmin()] for pixel in part.images[:, 4, 4].astype(int)]


def test_the_first_19_breeds_train_and_the_last_18_test(made: Path) -> None:
    split = oxford_pets(made, size=8)
    counts = Counter(class_id for _, class_id in PHOTOS)
    for part, ids in ((split.train, range(1, 20)), (split.test, range(20, 38))):
        assert part.images.shape == (sum(counts[class_id] for class_id in ids), 8, 8, 3)
        assert part.classes == tuple(BREEDS[class_id - 1] for class_id in ids)
        assert shown(part) == [part.classes[label] for label in part.labels.tolist()]
    assert len(split.train.labels) + len(split.test.labels) == 7349
    assert split.gallery is None


def test_other_folder_names_and_line_ends_are_read_alike_and_photos_not_listed_passed_over(own: Path) -> None:
    before = oxford_pets(own.parent, size=8).sha
    file = own / "annotations" / "list.txt"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n") + b"\r\n# the end\r\n")
    root = own.rename(own.parent / "oxford-iiit-pet")
    assert oxford_pets(root.parent, size=8).sha == before


def test_a_changed_list_is_read_again(own: Path) -> None:
    before = oxford_pets(own.parent, size=8).train.labels
    edit(own, f"{BREEDS[3]}_3 4 ", f"{BREEDS[2]}_9999 3 ")
    os.link(own / "images" / f"{BREEDS[2]}_2.jpg", own / "images" / f"{BREEDS[2]}_9999.jpg")
    try:
        assert np.flatnonzero(oxford_pets(own.parent, size=8).train.labels != before).tolist() == [3]
    finally:
        (own / "images" / f"{BREEDS[2]}_9999.jpg").unlink()


def test_missing_data_says_where_it_comes_from_and_goes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder .*oxford_pets: get the set from https://www.robots.ox.ac.uk/\S+"):
        oxford_pets(tmp_path)
    with pytest.raises(DataError, match="--data DIR or set BENCH_DATA"):
        oxford_pets(None)


def test_a_missing_list_is_a_sentence(own: Path) -> None:
    (own / "annotations" / "list.txt").unlink()
    with pytest.raises(DataError, match=r"list.txt cannot be read \(No such file.*\): get it again from https"):
        oxford_pets(own.parent)


def test_a_list_in_another_encoding_is_a_sentence(own: Path) -> None:
    file = own / "annotations" / "list.txt"
    file.write_bytes(file.read_bytes() + "päls_1 1 1 1".encode("latin-1"))
    with pytest.raises(DataError, match=r"list.txt cannot be read \(.*utf-8.*\): get it again from https"):
        oxford_pets(own.parent)


@pytest.mark.parametrize(("old", "new", "sentence"), [
    (f"{BREEDS[3]}_3 4 1 2\n", "", "has 7,348 photos of 37 classes, not 7,349 of the classes 1 to 37"),
    (f"{BREEDS[3]}_3 4 1 2\n", f"{BREEDS[3]}_3 38 1 2\n", "has 7,349 photos of 38 classes, not 7,349 of the classes"),
    (f"{BREEDS[3]}_3 4 1 2\n", f"{BREEDS[3]}_3 4 1\n", f"a line '{BREEDS[3]}_3 4 1' that does not fit its columns"),
    (f"{BREEDS[3]}_3 4 1 2\n", f"{BREEDS[3]}_3 four 1 2\n", "a line '.* four 1 2' that does not fit its columns"),
    (f"{BREEDS[3]}_3 4 ", f"{BREEDS[3]}_3 5 ", f"gives images/{BREEDS[3]}_3.jpg the class 5, which is {BREEDS[4]}"),
    (f"{BREEDS[3]}_3 4 ", f"{BREEDS[3]}_40 4 ", f"name the photo images/{BREEDS[3]}_40.jpg 2 times"),
])  # fmt: skip
def test_a_list_that_does_not_fit_is_a_sentence(own: Path, old: str, new: str, sentence: str) -> None:
    edit(own, old, new)
    with pytest.raises(DataError, match=f"{sentence}.*: get (it|them) again from https"):
        oxford_pets(own.parent)


def test_absent_photos_are_a_sentence(own: Path) -> None:
    edit(own, f"{BREEDS[3]}_3 ", f"{BREEDS[3]}_9003 ")
    edit(own, f"{BREEDS[3]}_40 ", f"{BREEDS[3]}_9040 ")
    with pytest.raises(DataError, match=rf"lacks 2 of its 7,349 photos, such as images/{BREEDS[3]}_9003.jpg: get them"):
        oxford_pets(own.parent)


def test_an_unreadable_photo_is_a_sentence(own: Path) -> None:
    (own / "images").unlink()
    photos(own)
    place = own / "images" / f"{BREEDS[3]}_3.jpg"
    content = place.read_bytes()
    place.unlink()
    place.write_bytes(content[:100])
    with pytest.raises(
        DataError, match=rf"1 photo\(s\) that cannot be read, such as images/{BREEDS[3]}_3.jpg: get them from https"
    ):
        oxford_pets(own.parent, size=8)
