import shutil
from collections import Counter
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np
import pytest
from PIL import Image

from bench.datasets.omniglot import omniglot
from bench.datasets.split import DataError

COUNTS = {"images_background": (30, 964), "images_evaluation": (20, 659)}


@pytest.fixture(scope="module")
def real(shared: Path) -> Path:
    if not (shared / "data" / "omniglot" / "images_background.zip").exists():
        pytest.skip("BENCH_SHARED has no data/omniglot")
    return shared / "data"


def archive(place: Path, name: str, *, characters: int = 0, missing: int = 0, alike: str = "") -> None:
    """An archive of the official layout with one drawing, repeated."""
    alphabets, official = COUNTS[name]
    characters = characters or official
    buffer = BytesIO()
    Image.fromarray(np.arange(105 * 105).reshape(105, 105) % 7 > 0).save(buffer, "PNG")
    with ZipFile(place / f"{name}.zip", "w", ZIP_STORED) as writer:
        for character in range(characters * 20 - missing):
            number, drawing = divmod(character, 20)
            alphabet = f"{alike or name[7:11]}_{number % alphabets}"
            folder = f"{name}/{alphabet}/character{number // alphabets + 1:02d}"
            writer.writestr(f"{folder}/{number + 1:04d}_{drawing + 1:02d}.png", buffer.getvalue())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("data") / "omniglot"
    place.mkdir()
    for name in COUNTS:
        archive(place, name)
    return place.parent


def test_the_published_split(real: Path) -> None:
    split = omniglot(real)
    assert split.train.images.shape == (19280, 28, 28, 1)
    assert split.test.images.shape == (13180, 28, 28, 1)
    for part, (alphabets, characters) in zip((split.train, split.test), COUNTS.values(), strict=True):
        assert Counter(part.labels.tolist()) == dict.fromkeys(range(characters), 20)
        assert len({name.split("/")[0] for name in part.classes}) == alphabets
        assert part.texts is None
    assert not set(split.train.classes) & set(split.test.classes)
    assert {"Alphabet_of_the_Magi/character01", "Braille/character26"} < set(split.train.classes)
    assert 0.02 < split.test.images.mean() / 255 < 0.2, "ink is light on dark"


def test_a_picture_is_the_drawing_resized(real: Path) -> None:
    split = omniglot(real, size=35, classes=3)
    name = split.test.classes[1]
    with ZipFile(real / "omniglot" / "images_evaluation.zip") as archive:
        drawings = sorted(member for member in archive.namelist() if f"/{name}/" in member and member.endswith(".png"))
        drawing = np.asarray(Image.open(BytesIO(archive.read(drawings[4]))).convert("L")) / 255
    block = 1 - drawing.reshape(35, 3, 35, 3).mean(axis=(1, 3))
    picture = split.test.images[split.test.labels == 1][4, ..., 0] / 255
    assert np.corrcoef(block.ravel(), picture.ravel())[0, 1] > 0.95


def test_folders_and_archives_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.datasets.omniglot.CHARACTERS", {"train": 9, "test": 7})
    zipped, folders = tmp_path / "zipped" / "omniglot", tmp_path / "folders" / "omniglot"
    zipped.mkdir(parents=True)
    (folders / "python").mkdir(parents=True)
    for name, characters in (("images_background", 9), ("images_evaluation", 7)):
        archive(zipped, name, characters=characters)
    with ZipFile(zipped / "images_evaluation.zip") as official:
        official.extractall(folders)
    shutil.copy(zipped / "images_background.zip", folders / "python")
    one, two = omniglot(zipped.parent, classes=5), omniglot(folders.parent, classes=5)
    assert one.sha == two.sha
    assert one.train.classes == two.train.classes


def test_classes_limits_both_sides_by_the_seed(made: Path) -> None:
    few = omniglot(made, classes=5)
    assert (len(few.train.classes), len(few.test.classes), len(few.train.labels)) == (5, 5, 100)
    assert set(few.train.classes) < set(omniglot(made, classes=9).train.classes)
    assert few.train.classes != omniglot(made, classes=5, seed=1).train.classes


def test_missing_data_says_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no images_background.zip in .*omniglot: get it from https://github.com/.* put it"
    ):
        omniglot(tmp_path)
    with pytest.raises(DataError, match="--data DIR or set BENCH_DATA"):
        omniglot(None)


def test_a_drawing_too_few_is_a_sentence(made: Path, tmp_path: Path) -> None:
    place = shutil.copytree(made / "omniglot", tmp_path / "omniglot")
    archive(place, "images_evaluation", missing=1)
    with pytest.raises(DataError, match="659 characters and 13,179 drawings, not 659 with 20 each"):
        omniglot(tmp_path, classes=3)


@pytest.mark.parametrize("kept", [0, 1000, 100_000])
def test_an_archive_cut_short_is_a_sentence(made: Path, tmp_path: Path, kept: int) -> None:
    place = shutil.copytree(made / "omniglot", tmp_path / "omniglot") / "images_background.zip"
    place.write_bytes(place.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"images_background.zip is not a whole zip archive .*: get it again"):
        omniglot(tmp_path)


def test_a_damaged_member_is_a_sentence(made: Path, tmp_path: Path) -> None:
    place = shutil.copytree(made / "omniglot", tmp_path / "omniglot") / "images_background.zip"
    content = bytearray(place.read_bytes())
    for start in range(0, len(content) // 2, 200):
        content[start + 150] ^= 255
    place.write_bytes(content)
    with pytest.raises(DataError, match="get it again from"):
        omniglot(tmp_path)


def test_a_character_on_both_sides_is_refused(tmp_path: Path) -> None:
    (tmp_path / "omniglot").mkdir()
    for name in COUNTS:
        archive(tmp_path / "omniglot", name, alike="Alphabet")
    with pytest.raises(DataError, match=r"character\(s\) on both the train and the test side, such as Alphabet_0/"):
        omniglot(tmp_path)
