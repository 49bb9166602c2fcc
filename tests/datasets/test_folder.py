from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.sample_photos import classes, picture

from bench.datasets.folder import folder
from bench.datasets.split import DataError, Split


def reds(split: Split) -> dict[str, set[int]]:
    """Class name -> red of its pictures, over all parts."""
    parts = [part for part in split[:3] if part is not None]
    return {
        name: set(part.images[part.labels == label, 4, 4, 0].tolist())
        for part in parts
        for label, name in enumerate(part.classes)
    }


def test_a_share_of_the_classes_is_the_test_side(tmp_path: Path) -> None:
    classes(tmp_path / "mine", "abcdefgh")
    split = folder(tmp_path, path="mine", size=8, test_share=0.25)
    assert (len(split.train.classes), len(split.test.classes)) == (6, 2)
    assert set(split.train.classes) | set(split.test.classes) == set("abcdefgh")
    assert split.train.images.shape == (18, 8, 8, 3)
    assert split.train.labels.tolist() == np.repeat(range(6), 3).tolist()
    assert reds(split) == {name: {10 * (ord(name) - ord("a"))} for name in "abcdefgh"}
    assert split.gallery is None
    assert split.notes == {"folder": "mine"}


def test_the_seed_chooses_and_a_further_class_moves_little(tmp_path: Path) -> None:
    root = classes(tmp_path, "abcdefgh")
    sides = {folder(None, path=str(root), size=8, seed=seed).test.classes for seed in range(6)}
    assert len(sides) > 1
    before = set(folder(None, path=str(root), size=8).test.classes)
    classes(root, "i")
    assert len(before - set(folder(None, path=str(root), size=8).test.classes)) <= 1


def test_gray_is_one_channel(tmp_path: Path) -> None:
    split = folder(None, path=str(classes(tmp_path, "abcd")), size=8, gray=True)
    assert split.test.images.shape == (6, 8, 8, 1)


def test_train_and_test_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    classes(tmp_path / "train", "abc")
    classes(tmp_path / "test", "xy", 2)
    split = folder(None, path=str(tmp_path), size=8)
    assert (split.train.classes, split.test.classes) == (tuple("abc"), tuple("xy"))
    assert len(split.test.labels) == 4


def test_a_class_on_both_sides_is_a_sentence(tmp_path: Path) -> None:
    classes(tmp_path / "train", "abc")
    classes(tmp_path / "test", "bcd")
    with pytest.raises(DataError, match="has b, c in both train and test"):
        folder(None, path=str(tmp_path), size=8)


def test_query_and_gallery_share_their_numbers(tmp_path: Path) -> None:
    classes(tmp_path / "train", "abc")
    classes(tmp_path / "query", "pqrs", 1)
    classes(tmp_path / "gallery", "fqrst", 2)
    split = folder(None, path=str(tmp_path), size=8)
    assert split.gallery is not None
    assert split.test.classes == ("q", "r", "s")
    assert split.gallery.classes == ("q", "r", "s", "f", "t")
    assert split.notes["classes left out"] == "1 with too few pictures: p"
    for label, name in enumerate(split.test.classes):
        for part in (split.test, split.gallery):
            assert (part.images[part.labels == label, 4, 4, 0] == 10 * (ord(name) - ord("a"))).all()


def test_a_train_class_in_the_gallery_is_a_sentence(tmp_path: Path) -> None:
    classes(tmp_path / "train", "abc")
    classes(tmp_path / "query", "pq", 1)
    classes(tmp_path / "gallery", "pqa", 2)
    with pytest.raises(DataError, match="has a in both"):
        folder(None, path=str(tmp_path), size=8)


def test_small_classes_are_left_out_and_counted(tmp_path: Path) -> None:
    root = classes(classes(tmp_path, "abcd", 4), "yz", 3)
    split = folder(None, path=str(root), size=8, min_images=4)
    assert set(split.train.classes) | set(split.test.classes) == set("abcd")
    assert split.notes["classes left out"] == "2 with too few pictures: y, z"


def test_a_broken_picture_is_named_or_left_out_and_counted(tmp_path: Path) -> None:
    root = classes(tmp_path / "mine", "abcd")
    (root / "c" / "1.png").write_bytes(b"")
    for number in (0, 1):
        place = root / "a" / f"{number}.png"
        place.write_bytes(place.read_bytes()[:40])
    with pytest.raises(
        DataError, match=r"has 3 picture\(s\) that cannot be read, such as a/0.png \(.+\): .*--skip-broken"
    ):
        folder(None, path=str(root), size=8)
    classes(root, "efg")
    split = folder(None, path=str(root), size=8, skip_broken=True)
    assert split.notes["pictures left out"] == "3 that are missing or cannot be read: a/0.png, a/1.png, c/1.png"
    assert split.notes["classes left out"] == "1 with too few pictures: a"
    kept = np.concatenate([np.bincount(split.train.labels), np.bincount(split.test.labels)]).tolist()
    assert sorted(kept) == [2, 3, 3, 3, 3, 3]


def test_other_files_and_hidden_ones_are_passed_over(tmp_path: Path) -> None:
    root = classes(tmp_path, "abcd")
    (root / "README.txt").write_text("x")
    (root / "a" / "notes.csv").write_text("x")
    (root / "a" / ".thumb.png").write_bytes(b"")
    picture(root / ".cache" / "1.png", 3)
    (root / "empty").mkdir()
    picture(root / "a" / "deep" / "4.png", 0)
    split = folder(None, path=str(root), size=8)
    assert len(split.train.labels) + len(split.test.labels) == 13


def test_a_changed_folder_is_read_again(tmp_path: Path) -> None:
    root = classes(tmp_path, "abcd")
    first = folder(None, path=str(root), size=8)
    assert folder(None, path=str(root), size=8).sha == first.sha
    Image.new("RGB", (30, 30), "white").save(root / "a" / "0.png")
    assert folder(None, path=str(root), size=8).sha != first.sha


def test_texts_come_from_a_table(tmp_path: Path) -> None:
    root = classes(tmp_path, "abcd")
    assert folder(None, path=str(root), size=8).train.texts is None
    (root / "texts.csv").write_text('class,text\nd,"de, dé"\na,ah\nb,be\nc,sea\n', encoding="utf-8")
    split = folder(None, path=str(root), size=8)
    known = {"a": "ah", "b": "be", "c": "sea", "d": "de, dé"}
    for part in (split.train, split.test):
        assert part.texts == tuple(known[name] for name in part.classes)


@pytest.mark.parametrize(("table", "sentence"), [
    ("class,text\na,ah\n", r"no text for \d class\(es\), such as"),
    ("name,text\na,ah\n", "needs the columns? class.*, but has no '(class|text)'"),
    ("", "needs the columns? class.*, but has no '(class|text)'"),
    ("class,text\na,\x81h\n", "is not UTF-8"),
    ("class,text\na,ah\na,oh\n", "more than one text for the label 'a'"),
])  # fmt: skip
def test_a_table_that_does_not_fit_is_a_sentence(tmp_path: Path, table: str, sentence: str) -> None:
    root = classes(tmp_path, "abcd")
    (root / "texts.csv").write_text(table, encoding="latin-1")
    with pytest.raises(DataError, match=sentence):
        folder(None, path=str(root), size=8)


def test_too_few_classes_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has \d (train|test) class\(es\) with enough pictures"):
        folder(None, path=str(classes(tmp_path, "abc")), size=8)


def test_a_missing_folder_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not a folder"):
        folder(tmp_path, path="nowhere")
    with pytest.raises(DataError, match="--data DIR"):
        folder(None, path="nowhere")


def test_real_photos_load(shared: Path) -> None:
    place = shared / "data" / "grocery_store" / "dataset" / "iconic-images-and-descriptions" / "Fruit"
    if not place.is_dir():
        pytest.skip("BENCH_SHARED has no data/grocery_store")
    split = folder(None, path=str(place), size=32, min_images=1)
    assert split.train.images.std() > 30
