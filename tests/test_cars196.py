import shutil
from pathlib import Path

import numpy as np
import pytest
from sample_photos import lay, shown, spoil
from scipy.io import loadmat, savemat

from bench.datasets.cars196 import cars196
from bench.datasets.split import DataError, Images

FIELDS = ["relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "test"]


@pytest.fixture(scope="module")
def official(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official annotations, with generated photos."""
    source = shared / "data" / "metadata" / "cars196" / "cars_annos.mat"
    if not source.exists():
        pytest.skip("BENCH_SHARED has no data/metadata/cars196")
    root = tmp_path_factory.mktemp("data") / "cars196"
    root.mkdir()
    shutil.copy(source, root)
    lay(root, ((row[0].item(), row[5].item()) for row in loadmat(source)["annotations"][0]))
    return root


def annotate(root: Path, photos: list[tuple[str, int]], names: list[str]) -> None:
    rows = np.array([(path, 1, 1, 9, 9, label, number % 2) for number, (path, label) in enumerate(photos)],
                    dtype=[(name, object) for name in FIELDS])  # fmt: skip
    savemat(root / "cars_annos.mat", {"annotations": rows[None], "class_names": np.array(names, object)[None]})


PHOTOS = [(f"car_ims/{number:06}.jpg", number % 4 + 1) for number in range(1, 13)]
NAMES = ["Ant 2012", "Bee 2012", "Cat C/V 2007", "Doe 2012"]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four classes, the first two to train, with three photos each; their rows are mixed."""
    monkeypatch.setattr("bench.datasets.cars196.COUNTS", {"train": (2, 6), "test": (2, 6)})
    root = tmp_path / "cars196"
    lay(root, PHOTOS)
    annotate(root, PHOTOS, NAMES)
    return root


def same(part: Images, first: int, names: list[str]) -> None:
    assert list(part.classes) == names
    assert shown(part) == [label + first for label in part.labels]
    assert part.texts is None


def test_the_official_annotations(official: Path) -> None:
    split = cars196(official.parent, size=8)
    assert split.train.images.shape == (8054, 8, 8, 3)
    assert split.test.images.shape == (8131, 8, 8, 3)
    assert split.gallery is None
    names = [name.item() for name in loadmat(official / "cars_annos.mat")["class_names"][0]]
    same(split.train, 1, names[:98])
    same(split.test, 99, names[98:])
    assert {"AM General Hummer SUV 2000", "Dodge Dakota Crew Cab 2010"} <= set(names)
    assert split.train.classes[0] == "AM General Hummer SUV 2000"
    assert split.test.classes[-1] == "smart fortwo Convertible 2012"


def test_the_first_classes_train(small: Path) -> None:
    split = cars196(small.parent, size=8)
    same(split.train, 1, NAMES[:2])
    same(split.test, 3, NAMES[2:])


def test_a_missing_set_says_where_it_comes_from_and_goes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cars196 has no folder .*cars196: get the set from https://\S+ .*put it"):
        cars196(tmp_path)
    with pytest.raises(DataError, match=r"cars196 needs .*--data DIR or set BENCH_DATA"):
        cars196(None)


def test_missing_annotations_are_a_sentence(small: Path) -> None:
    (small / "cars_annos.mat").unlink()
    with pytest.raises(DataError, match=r"cars_annos.mat cannot be read .*\(No such file.*\): get it again from https"):
        cars196(small.parent, size=8)


@pytest.mark.parametrize("kept", [0, 50, 300, 1000])
def test_annotations_cut_short_are_a_sentence(small: Path, kept: int) -> None:
    file = small / "cars_annos.mat"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"cars_annos.mat cannot be read as the annotations .*: get it again from http"):
        cars196(small.parent, size=8)


def test_annotations_of_another_set_are_a_sentence(small: Path) -> None:
    savemat(small / "cars_annos.mat", {"annotations": np.arange(5), "class_names": np.array(NAMES, object)})
    with pytest.raises(DataError, match=r"cars_annos.mat cannot be read as the annotations .*: get it again from http"):
        cars196(small.parent, size=8)


@pytest.mark.parametrize(("photos", "names", "sentence"), [
    (PHOTOS[1:], NAMES, "2 classes with 5 photos for train, not 2 with 6"),
    ([(path, min(label, 3)) for path, label in PHOTOS], NAMES, "1 classes with 6 photos for test, not 2 with 6"),
    ([*PHOTOS[:-1], ("../secret.jpg", 1)], NAMES, "names '../secret.jpg', which is outside its folder"),
    ([*PHOTOS[:-1], ("/secret.jpg", 1)], NAMES, "names '/secret.jpg', which is outside its folder"),
    ([*PHOTOS[:4], PHOTOS[0], *PHOTOS[5:]], NAMES, "name the photo car_ims/000001.jpg 2 times"),
    (PHOTOS, NAMES[:3], "do not give each class a name of its own"),
    (PHOTOS, [*NAMES[:3], NAMES[0]], "do not give each class a name of its own"),
])  # fmt: skip
def test_annotations_that_do_not_fit_are_a_sentence(
    small: Path, photos: list[tuple[str, int]], names: list[str], sentence: str
) -> None:
    annotate(small, photos, names)
    with pytest.raises(DataError, match=f"{sentence}.*: get (it|them) again from https"):
        cars196(small.parent, size=8)


def test_an_absent_photo_is_a_sentence(small: Path) -> None:
    (small / "car_ims/000005.jpg").unlink()
    with pytest.raises(DataError, match=r"lacks 1 of its 12 photos, such as car_ims/000005.jpg: get them from https"):
        cars196(small.parent, size=8)


def test_an_unreadable_photo_is_a_sentence(small: Path) -> None:
    spoil(small / "car_ims/000006.jpg")
    with pytest.raises(DataError, match=r"1 photo\(s\) that cannot be read, such as car_ims/000006.jpg: get them from"):
        cars196(small.parent, size=8)
