import hashlib
import os
import subprocess
import sys
import unicodedata
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from fontTools.pens.recordingPen import DecomposingRecordingPen
from fontTools.ttLib import TTFont

from bench.datasets.files.letters import FACES, distinct, faces, side, version
from bench.datasets.files.stable_choice import choose
from bench.datasets.glyphs import glyphs
from bench.datasets.split import DataError, Split

SMALL = {"classes": 12, "images_per_class": 5, "test_classes": 8, "test_images_per_class": 3}
DEFAULT_SHA = "e4de42a64acd"


@pytest.fixture(scope="module")
def letters() -> dict[int, list[str]]:
    return distinct()


def code_of(name: str) -> int:
    return int(name.split()[0].removeprefix("U+"), 16)


def nearest_is_of_the_class(split: Split) -> float:
    flat = split.test.images.reshape(len(split.test.labels), -1).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    likeness = flat @ flat.T - 2 * np.eye(len(flat))
    return float((split.test.labels[likeness.argmax(axis=1)] == split.test.labels).mean())


def test_there_are_twelve_text_faces() -> None:
    files = faces()
    assert len(files) == len(FACES) == 12
    assert all(file.is_file() for file in files.values())
    assert {version(file) for file in files.values()} == {version(files["Sans"])}


def test_default_set_has_the_promised_counts() -> None:
    split = glyphs(None)
    assert split.train.images.shape == (6000, 32, 32, 1)
    assert split.test.images.shape == (3048, 32, 32, 1)
    assert set(Counter(split.train.labels.tolist()).values()) == {20}
    assert set(Counter(split.test.labels.tolist()).values()) == {12}
    assert split.notes["fonts"].startswith("DejaVu 2.")


def test_classes_are_named_and_on_their_side() -> None:
    split = glyphs(None)
    scripts = {"train": {"LATIN", "GREEK"}, "test": {"CYRILLIC", "ARMENIAN", "GEORGIAN"}}
    for part, allowed in ((split.train, scripts["train"]), (split.test, scripts["test"])):
        assert part.texts is not None
        for name, text in zip(part.classes, part.texts, strict=True):
            assert name == f"U+{code_of(name):04X} {chr(code_of(name))}"
            assert text == unicodedata.name(chr(code_of(name)))
            assert text.split()[0] in allowed
    assert not set(split.train.classes) & set(split.test.classes)


def test_no_outline_is_in_two_classes(letters: dict[int, list[str]]) -> None:
    """Brute force by another road: outlines as fontTools' pen draws them, composites taken apart."""
    for face in ("Sans", "Sans-Bold", "SansMono", "Serif", "Serif-Italic", "Serif-BoldItalic"):
        owners = defaultdict(list)
        with TTFont(faces()[face], lazy=True) as font:
            drawn, names = font.getGlyphSet(), font.getBestCmap()
            for code in letters:
                if code in names:
                    owners[drawing(drawn, names[code])].append(chr(code))
        assert [owner for owner in owners.values() if len(owner) > 1] == [], face


def drawing(drawn: object, name: str) -> tuple[object, ...]:
    pen = DecomposingRecordingPen(drawn)
    drawn[name].draw(pen)  # type: ignore[index]
    points = [point for _, points in pen.value for point in points if point is not None]
    left, low = min(x for x, _ in points), min(y for _, y in points)
    return tuple((verb, *((p and (p[0] - left, p[1] - low)) for p in points)) for verb, points in pen.value)


@pytest.mark.parametrize("alike", ["AΑА", "HΗНꞪ"[:3], "oοо", "cϲс", "mт", "OՕО"])
def test_letters_drawn_alike_are_one_class_on_the_train_side(letters: dict[int, list[str]], alike: str) -> None:
    assert ord(alike[0]) in letters
    assert not {ord(letter) for letter in alike[1:]} & letters.keys()
    assert side(ord(alike[0])) == "train"


def test_a_face_that_lacks_a_letter_is_not_used_for_it(letters: dict[int, list[str]]) -> None:
    for face, file in faces().items():
        with TTFont(file, lazy=True) as font:
            has = font.getBestCmap().keys()
        assert all((face in found) == (code in has) for code, found in letters.items())


def test_other_characters_are_on_no_side() -> None:
    assert [side(ord(character)) for character in "1. ʰאあ\x00"] == [None] * 7


def test_same_bits_in_another_process(tmp_path: Path) -> None:
    code = f"from bench.datasets.glyphs import glyphs; print(glyphs(None, **{SMALL}).sha)"
    environment = {**os.environ, "BENCH_CACHE": str(tmp_path), "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", code]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == glyphs(None, **SMALL).sha


def test_same_bits_as_ever() -> None:
    """A change here changes every stored result on glyphs; other fonts or another FreeType may do so, too."""
    split = glyphs(None)
    if split.notes["fonts"] != "DejaVu 2.35":
        pytest.skip(f"the pinned bits are of DejaVu 2.35, not {split.notes['fonts']}")
    assert split.sha[:12] == DEFAULT_SHA


def test_pictures_of_a_class_do_not_depend_on_the_others() -> None:
    few, many = glyphs(None, **SMALL), glyphs(None, **{**SMALL, "classes": 40})
    place = [many.train.classes.index(name) for name in few.train.classes]
    chosen = np.concatenate([many.train.images[many.train.labels == label] for label in place])
    assert np.array_equal(few.train.images, chosen)
    assert np.array_equal(few.test.images, many.test.images)


def test_seed_changes_classes_and_pictures() -> None:
    one, two = glyphs(None, **SMALL), glyphs(None, **SMALL, seed=1)
    assert one.train.classes != two.train.classes
    assert one.sha != two.sha


def test_difficulty_goes_from_clean_to_hard() -> None:
    many = {**SMALL, "test_classes": 80, "test_images_per_class": 5}
    clean, easy, plain, hard = (nearest_is_of_the_class(glyphs(None, **many, difficulty=d)) for d in (0, 0.5, 1, 2))
    assert clean > easy > plain > hard > 1 / 100
    assert clean > 0.8
    assert glyphs(None, **SMALL, difficulty=0).train.images.max() == 255


def test_every_letter_is_seen(letters: dict[int, list[str]]) -> None:
    split = glyphs(None, classes=1000, images_per_class=2, test_classes=400, test_images_per_class=2, difficulty=0)
    for part in (split.train, split.test):
        inner = part.images[..., 0].max(axis=(1, 2))
        assert inner.min() > 100
        assert not part.images[:, [0, -1], :].any(), "a letter is cut off above or below"
        assert not part.images[:, :, [0, -1]].any(), "a letter is cut off at a side"
    assert len(letters) > 1400


@pytest.mark.parametrize("size", [16, 48])
def test_size_is_the_side_of_a_picture(size: int) -> None:
    assert glyphs(None, **SMALL, size=size).test.images.shape == (24, size, size, 1)


@pytest.mark.parametrize("parameter", ["classes", "test_classes"])
def test_more_classes_than_there_are_is_a_sentence(parameter: str) -> None:
    with pytest.raises(DataError, match=rf"glyphs has [\d,]+ \w+ classes: set {parameter} to at most that"):
        glyphs(None, **{**SMALL, parameter: 5000})


def test_choose_is_nested_ordered_and_pinned() -> None:
    names = [f"class {n}" for n in range(50)]
    for few, many in combinations([choose(names, count, 1) for count in (0, 5, 20, 50)], 2):
        assert set(few) < set(many)
        assert many == sorted(many, key=names.index)
    assert choose(names, 5, 1) != choose(names, 5, 2)
    assert choose(["a", "b"], 9, 0) == ["a", "b"]
    least = min(names, key=lambda name: hashlib.sha256(f"4:{name}".encode()).hexdigest())
    assert choose(names, 1, 4) == [least]
