import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from bench.datasets.flowers102 import flowers102
from bench.datasets.split import DataError, Images

LABELS = [number * 37 % 102 + 1 for number in range(8189)]
"""Classes 1 to 102 in turn, as mixed as the official ones."""


def colour(label: int) -> tuple[int, int, int]:
    return 2 * label, 255 - 2 * label, 60 * (label % 4)


def photos(root: Path) -> None:
    """The official number of photos, of one colour a class, links to one file a class."""
    (root / "jpg").mkdir(parents=True)
    for label in range(1, 103):
        Image.new("RGB", (12, 10), colour(label)).save(root / f"{label}.jpg")
    for number, label in enumerate(LABELS, start=1):
        os.link(root / f"{label}.jpg", root / "jpg" / f"image_{number:05d}.jpg")


def labelled(root: Path, labels: list[int]) -> None:
    savemat(root / "imagelabels.mat", {"labels": np.array([labels], np.uint8)})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "flowers102"
    photos(root)
    labelled(root, LABELS)
    return root.parent


@pytest.fixture
def own(made: Path, tmp_path: Path) -> Path:
    """The folder of the set to damage; its photos are those of the set made, reached through a link."""
    root = tmp_path / "flowers102"
    root.mkdir()
    labelled(root, LABELS)
    (root / "jpg").symlink_to(made / "flowers102" / "jpg")
    return root


def shown(part: Images) -> list[str]:
    """The label of the colour that each picture shows."""
    known = np.array([colour(label) for label in range(1, 103)])
    return [str(np.abs(known - pixel).sum(axis=1).argmin() + 1) for pixel in part.images[:, 4, 4].astype(int)]


def test_the_first_half_of_the_classes_trains_and_the_other_tests(made: Path) -> None:
    split = flowers102(made, size=8)
    for part, ids in ((split.train, range(1, 52)), (split.test, range(52, 103))):
        count = sum(label in ids for label in LABELS)
        assert part.images.shape == (count, 8, 8, 3)
        assert part.classes == tuple(map(str, ids))
        assert shown(part) == [part.classes[label] for label in part.labels.tolist()]
    assert len(split.train.labels) + len(split.test.labels) == 8189
    assert split.gallery is None


def test_the_other_name_of_the_folder_and_a_changed_label_are_noticed(own: Path) -> None:
    before = flowers102(own.parent, size=8).train.labels
    labelled(own, [LABELS[102], *LABELS[1:102], LABELS[0] + 1, *LABELS[103:]])
    root = own.rename(own.parent / "flowers-102")
    assert np.flatnonzero(flowers102(root.parent, size=8).train.labels != before).size == 1


def test_missing_data_says_where_it_comes_from_and_goes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder .*flowers102: get the set from https://www.robots.ox.ac.uk/\S+"):
        flowers102(tmp_path)
    with pytest.raises(DataError, match="--data DIR or set BENCH_DATA"):
        flowers102(None)


def test_missing_labels_are_a_sentence(own: Path) -> None:
    (own / "imagelabels.mat").unlink()
    with pytest.raises(
        DataError, match=r"imagelabels.mat cannot be read as the labels .*\(No such file.*\): get it again from https"
    ):
        flowers102(own.parent)


@pytest.mark.parametrize("kept", [0, 100, 1000])
def test_labels_cut_short_are_a_sentence(own: Path, kept: int) -> None:
    file = own / "imagelabels.mat"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"imagelabels.mat cannot be read as the labels of Flowers102 .*: get it again"):
        flowers102(own.parent)


def test_another_table_is_a_sentence(own: Path) -> None:
    savemat(own / "imagelabels.mat", {"trnid": np.arange(5)})
    with pytest.raises(DataError, match=r"cannot be read as the labels of Flowers102 \('labels'\): get it again"):
        flowers102(own.parent)


@pytest.mark.parametrize(("labels", "found"), [
    (LABELS[:-1], "8,188 labels, of 102 classes"),
    ([min(label, 101) for label in LABELS], "8,189 labels, of 101 classes"),
    ([label - 1 for label in LABELS], "8,189 labels, of 102 classes"),
])  # fmt: skip
def test_labels_of_other_numbers_are_a_sentence(own: Path, labels: list[int], found: str) -> None:
    labelled(own, labels)
    with pytest.raises(DataError, match=f"{found}, not 8,189 of the classes 1 to 102: get it again from https"):
        flowers102(own.parent)


def test_absent_photos_are_a_sentence(own: Path) -> None:
    (own / "jpg").unlink()
    photos(own)
    for number in (7, 8000):
        (own / "jpg" / f"image_{number:05d}.jpg").unlink()
    with pytest.raises(DataError, match=r"lacks 2 of its 8,189 photos, such as jpg/image_00007.jpg: get them from"):
        flowers102(own.parent)


def test_an_unreadable_photo_is_a_sentence(own: Path) -> None:
    (own / "jpg").unlink()
    photos(own)
    place = own / "jpg" / "image_00007.jpg"
    content = place.read_bytes()
    place.unlink()
    place.write_bytes(content[:100])
    with pytest.raises(
        DataError, match=r"1 photo\(s\) that cannot be read, such as jpg/image_00007.jpg: get them from https"
    ):
        flowers102(own.parent, size=8)
