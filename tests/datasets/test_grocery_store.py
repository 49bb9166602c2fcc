from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image
from support.published_sets import Small, made
from support.sample_photos import colour, edit, shown

from bench.datasets.grocery_store import grocery_store
from bench.datasets.split import DataError, Split


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    return made("grocery_store", tmp_path, monkeypatch)


@pytest.fixture
def query(small: Small) -> tuple[str, int]:
    """Path and fine id of a photo of the test list."""
    return small.parts["test"][1]


def test_the_test_list_queries_and_descriptions_are_the_texts(small: Small) -> None:
    split = small.read()
    for name, part in zip(("train", "test", "gallery"), split[:3], strict=True):
        assert part is not None
        assert len(part.labels) == len(small.parts[name])
        assert part.texts == tuple(f"Frukt på bild no. {name.split()[-1]}." for name in part.classes)


def test_all_compares_every_test_photo_with_all_others(small: Small, tmp_path: Path) -> None:
    lists, every = small.read(), grocery_store(tmp_path, size=8, protocol="all")
    assert lists.gallery is not None
    assert every.gallery is None
    assert every.test.images.shape == (9, 8, 8, 3)
    assert shown(every.test) == [one for part in ("test", "gallery") for _, one in small.parts[part]]
    parts = (lists.test, lists.gallery)
    assert Counter(every.test.labels.tolist()) == Counter(label for part in parts for label in part.labels.tolist())
    assert (every.test.classes, every.test.texts) == (lists.test.classes, lists.test.texts)
    np.testing.assert_array_equal(every.train.images, lists.train.images)


def test_a_changed_photo_description_or_class_is_read_again(small: Small, query: tuple[str, int]) -> None:
    first, (path, one) = small.read(), query
    assert small.read().sha == first.sha
    (small.root / path).unlink()
    Image.new("RGB", (20, 20), colour(99)).save(small.root / path)
    assert [new for new, old in zip(shown(small.read().test), shown(first.test), strict=True) if new != old] == [99]
    (small.root / f"texts/{one}.txt").write_bytes(b"Another text.")
    assert "Another text." in (small.read().test.texts or ())
    edit(small.root / "test.txt", f"{path}, {one}, {2 * one + 1}", f"{path}, {7 - one}, {2 * (7 - one) + 1}")
    assert sorted(np.bincount(small.read().test.labels)) == [1, 3]


@pytest.mark.parametrize(("old", "new", "sentence"), [
    ("Class ID (int)", "Class", "does not begin with the columns Class Name"),
    ("class 3,3,", "class 3,three,", "a line 'class 3,three,.* does not fit its columns"),
    ("class 3,3,", "3,", "a line '3,kind 7.* does not fit its columns"),
    ("class 3,3,", "class 4,3,", "does not have 4 classes of different names and ids"),
    ("class 3,3,", "class 3,4,", "does not have 4 classes of different names and ids"),
    (",/texts/3.txt", ",/texts/99.txt", "99.txt, the description of class 3, is missing or empty"),
    (",/texts/3.txt", ",", "the description of class 3, is missing or empty"),
    (",/texts/3.txt", ",/../../../secret.txt", "names '../../../secret.txt', which is outside its folder"),
    (",/texts/3.txt", ",//texts/3.txt", "names '/texts/3.txt', which is outside its folder"),
])  # fmt: skip
def test_a_table_of_classes_that_does_not_fit_is_a_sentence(small: Small, old: str, new: str, sentence: str) -> None:
    edit(small.root / "classes.csv", old, new)
    with pytest.raises(DataError, match=f"{sentence}.*: get it again from https"):
        small.read()


@pytest.mark.parametrize("content", [b" \n", b"\xe5"])
def test_a_description_that_says_nothing_is_a_sentence(small: Small, content: bytes) -> None:
    (small.root / "texts/4.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"4.txt, the description of class 4, is missing or empty"):
        small.read()


@pytest.mark.parametrize(("line", "sentence"), [
    ("{path}, {one}", "a line '{path}, {one}' that is not a path, a class id and its coarse id"),
    ("{path}, x, {coarse}", "that is not a path, a class id and its coarse id"),
    ("{path}, 81, {coarse}", "that is not a path, a class id and its coarse id"),
    ("{path}, {one}, 38", "that is not a path, a class id and its coarse id"),
    ("{path}, 1, 2", "2 classes with 7 photos for train, not 2 with 6"),
    ("", "2 classes with 3 photos for test, not 2 with 4"),
])  # fmt: skip
def test_a_list_that_does_not_fit_is_a_sentence(small: Small, query: tuple[str, int], line: str, sentence: str) -> None:
    words = {"path": query[0], "one": query[1], "coarse": 2 * query[1] + 1}
    edit(small.root / "test.txt", "{path}, {one}, {coarse}".format(**words), line.format(**words))
    with pytest.raises(DataError, match=f"{sentence.format(**words)}.*: get (it|them) again from https"):
        small.read()


def test_a_class_without_a_query_is_a_sentence(small: Small) -> None:
    text = (small.root / "test.txt").read_text(encoding="utf-8")
    (small.root / "test.txt").write_text(text.replace(", 4, 9\n", ", 3, 7\n"), encoding="utf-8")
    with pytest.raises(DataError, match="1 classes with 4 photos for test, not 2 with 4"):
        small.read()


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
