"""Folders as users have them: each is read right, or refused in one sentence; nothing vanishes in silence."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.sample_photos import classes, picture

from bench.datasets.folder import folder
from bench.datasets.split import DataError, Split, left_out, remarks


def read(root: Path, **parameters: bool | int) -> Split:
    return folder(None, path=str(root), **{"size": 8, **parameters})


def sides(root: Path, *names: str) -> Path:
    """Folders of the given names, the letters of the classes after a space: "train abc"."""
    for name, letters in (one.split() for one in names):
        classes(root / name, letters)
    return root


@pytest.mark.parametrize(("names", "note"), [
    (["train abc", "test xyz"], None),
    (["Train abc", "Test xyz"], "train from Train, test from Test"),
    (["TRAIN abc", "test xyz"], "train from TRAIN"),
    (["train abc", "Query xyz", "gallery xyz"], "test from Query"),
])  # fmt: skip
def test_folders_of_sides_are_read_in_any_case_and_said(tmp_path: Path, names: list[str], note: str | None) -> None:
    split = read(sides(tmp_path, *names))
    assert (split.train.classes, split.test.classes) == (tuple("abc"), tuple("xyz"))
    assert split.notes.get("folders") == note
    assert (note is not None) is any(remark.startswith("folders: ") for remark in remarks(split))


@pytest.mark.parametrize(("names", "sentence"), [
    (["train abc", "val xyz"], r"has train, val, but not train and test .*: rename the folder of the classes"),
    (["Train abc", "Validation xyz"], "has Train, Validation, but not train and test"),
    (["train abc"], "has train, but not train and test"),
    (["query abc", "gallery abc"], "has gallery, query, but not train and test"),
    (["train abc", "query xyz"], "has query, train, but not train and test"),
    (["train abc", "test xyz", "val pqr"], "has pictures in val, beside train, test: move them into one of these, or"),
    (["train abc", "test xyz", "extra pqr"], "has pictures in extra, beside train, test"),
    (["train abc", "query xyz", "gallery xyz", "test xyz"], "has pictures in test, beside train, query, gallery"),
    (["train abc", "Train abc", "test xyz"], "has Train and train: rename one, as case makes no difference"),
])  # fmt: skip
def test_folders_of_other_sides_are_a_sentence(tmp_path: Path, names: list[str], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        read(sides(tmp_path, *names))


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("train", "bus", "car", "tram"):
        picture(tmp_path / name / "1.png", 0)
        picture(tmp_path / name / "2.png", 0)
    split = read(tmp_path)
    assert set(split.train.classes + split.test.classes) == {"train", "bus", "car", "tram"}


def test_a_side_with_pictures_but_no_classes_is_a_sentence(tmp_path: Path) -> None:
    classes(tmp_path / "train", "abc")
    picture(tmp_path / "test" / "1.png", 0)
    with pytest.raises(DataError, match="test has no sub-folder with pictures: put those of each class into a folder"):
        read(tmp_path)


def test_what_is_not_read_is_named_and_counted(tmp_path: Path) -> None:
    root = classes(tmp_path, "abcd")
    for name in ("a/notes.txt", "a/IMG_1.MOV", "b/Thumbs.db", "b/x.tar.gz", "photo", "README.txt"):
        (root / name).write_bytes(b"x")
    picture(root / "loose.png", 0)
    (root / "empty").mkdir()
    (root / ".DS_Store").touch()
    split = read(root)
    said = split.notes["files left out"]
    assert said.startswith("8 that are not pictures of a class (.txt: 2, .png: 1, no ending: 1, ")
    assert said.endswith(": README.txt, loose.png, photo and 5 more")
    assert left_out(split) == f"files left out: {said}"


def test_of_a_clean_folder_nothing_is_left_out(tmp_path: Path) -> None:
    split = read(classes(tmp_path, "abcd"))
    assert (left_out(split), remarks(split)) == (None, ())


def dangling(root: Path) -> Path:
    (root / "a" / "9.png").symlink_to("nowhere.png")
    return root


def pipe(root: Path) -> Path:
    os.mkfifo(root / "a" / "9.png")
    return root


def phone(root: Path) -> Path:
    (root / "a" / "9.dng").write_bytes(b"raw")
    return root


def nothing(root: Path) -> Path:
    (root / "a" / "9.jpg").touch()
    return root


@pytest.mark.parametrize(("add", "sentence"), [
    (dangling, r"has 1 picture\(s\) that are there, but are no files, such as a/9.png: .*skip-broken"),
    (pipe, r"has 1 picture\(s\) that are there, but are no files, such as a/9.png: .*skip-broken"),
    (phone, r"has 1 picture\(s\) that cannot be read, such as a/9.dng \(a camera's raw file: export it as JPEG"),
    (nothing, r"has 1 picture\(s\) that cannot be read, such as a/9.jpg \(an empty file\): .*skip-broken"),
])  # fmt: skip
def test_a_file_that_is_no_picture_is_a_sentence_and_can_be_left_out(
    tmp_path: Path, add: Callable[[Path], Path], sentence: str
) -> None:
    root = add(classes(tmp_path, "abcd"))
    with pytest.raises(DataError, match=sentence):
        read(root)
    split = read(root, skip_broken=True)
    assert len(split.train.labels) + len(split.test.labels) == 12
    assert "pictures left out: 1 that are missing or cannot be read: a/9." in (left_out(split) or "")


def test_a_folder_called_as_a_picture_is_looked_into(tmp_path: Path) -> None:
    root = classes(tmp_path, "abcd")
    picture(root / "a" / "9.png" / "1.png", 0)
    split = read(root)
    assert len(split.train.labels) + len(split.test.labels) == 13


@pytest.mark.parametrize(("place", "to", "sentence"), [
    ("e", "..", r"e is a link to .*, which holds all the classes: remove it"),
    ("e", ".", "e is a link to .*, which holds all the classes: remove it"),
    ("a/loop", ".", "a and .*a/loop are the same folder: remove the one that is a link"),
    ("a/all", "../..", "all is a link to .*, which holds all the classes"),
    ("e", "d", "d and .*e are the same folder"),
    ("a/more", "../d", "a/more and .*d are the same folder"),
])  # fmt: skip
def test_a_folder_that_is_met_twice_is_a_sentence(tmp_path: Path, place: str, to: str, sentence: str) -> None:
    root = classes(tmp_path / "mine", "abcd")
    (root / place).symlink_to(to, target_is_directory=True)
    with pytest.raises(DataError, match=sentence):
        read(root)


def test_folders_may_be_links_to_elsewhere(tmp_path: Path) -> None:
    root = classes(tmp_path / "mine", "abcd")
    classes(tmp_path / "disk", "e")
    (root / "e").symlink_to(tmp_path / "disk" / "e")
    (root / "a" / "more").symlink_to(classes(tmp_path / "other disk", "f") / "f")
    (tmp_path / "link").symlink_to(root)
    split = read(tmp_path / "link")
    assert set(split.train.classes + split.test.classes) == set("abcde")
    assert len(split.train.labels) + len(split.test.labels) == 18


def test_names_that_are_not_utf8_are_classes_like_others(tmp_path: Path) -> None:
    root = classes(tmp_path, "abc")
    strange = os.fsdecode(os.fsencode(tmp_path) + b"/k\xe4se")
    try:
        os.mkdir(strange)
    except OSError:
        pytest.skip("this disk takes no such name")
    for number in range(3):
        picture(Path(strange, f"{number}.png"), 0)
    Path(strange, os.fsdecode(b"\xff.png")).touch()
    with pytest.raises(DataError, match=r"such as k\\xe4se/\\xff.png \(an empty file\)"):
        read(root)
    split = read(root, skip_broken=True)
    assert "k\\xe4se" in split.train.classes + split.test.classes
    assert split.notes["pictures left out"].endswith("k\\xe4se/\\xff.png")
    assert read(root, skip_broken=True).sha == split.sha
    Path(strange, "loop").symlink_to("..")
    with pytest.raises(DataError, match=r"/k\\xe4se/loop is a link to"):
        read(root)


def test_a_class_in_two_forms_of_unicode_is_one_class(tmp_path: Path) -> None:
    classes(tmp_path / "train", "abc")
    classes(tmp_path / "test", "xyz")
    picture(tmp_path / "train" / "caf\u00e9" / "1.png", 0)
    picture(tmp_path / "test" / "cafe\u0301" / "1.png", 0)
    with pytest.raises(DataError, match="has café in both train and test"):
        read(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
@pytest.mark.parametrize("place", ["", "a", "a/deep"])
def test_a_folder_that_may_not_be_opened_is_a_sentence(tmp_path: Path, place: str) -> None:
    root = classes(tmp_path / "mine", "abcd")
    picture(root / "a" / "deep" / "1.png", 0)
    (root / place).chmod(0)
    try:
        with pytest.raises(DataError, match=r"cannot be opened \(Permission denied\): allow it, or"):
            read(root)
    finally:
        (root / place).chmod(0o755)


def test_a_home_folder_may_be_written_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(classes(tmp_path / "photos", "abcd").parent))
    assert folder(None, path="~/photos", size=8).sha == folder(tmp_path, path="photos", size=8).sha


def test_copies_and_pictures_under_two_labels_are_counted(tmp_path: Path) -> None:
    classes(tmp_path / "train", "abc")
    classes(tmp_path / "test", "xyz")
    for source, copy in (("test/x/0", "test/x/9"), ("test/y/0", "test/z/9"), ("train/a/1", "test/z/8")):
        (tmp_path / f"{copy}.png").write_bytes((tmp_path / f"{source}.png").read_bytes())
    notes = read(tmp_path).notes
    assert notes["copies"] == (
        "1 test picture(s) among the training pictures too: test/z/8.png; 2 test picture(s) there more than once: "
        "test/x/9.png"
    )
    assert notes["two labels"].startswith("2 picture(s) are there under more than one label: ")
