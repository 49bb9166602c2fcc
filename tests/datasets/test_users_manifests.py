"""Manifests as other programs write them, and pictures as they lie about: read right, or refused in one sentence."""

import csv
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from support.sample_photos import picture

from bench.datasets.manifest import manifest
from bench.datasets.split import DataError, Split, left_out, remarks


def rows(root: Path, labels: str = "abxy") -> pd.DataFrame:
    """Three pictures of each class, classes to test on from the letter n on."""
    found = []
    for number in range(3):
        for label in labels:
            picture(root / "photos" / label / f"{number}.png", 10 * (ord(label) - ord("a")))
            found.append((f"photos/{label}/{number}.png", label, "test" if label >= "n" else "train"))
    return pd.DataFrame(found, columns=["path", "label", "split"])


def read(root: Path, name: str = "my.csv", **parameters: bool | int) -> Split:
    return manifest(root, path=name, **{"size": 8, **parameters})


WRITERS: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    "pandas": lambda table, file: table.to_csv(file),
    "quoted": lambda table, file: table.to_csv(file, quoting=csv.QUOTE_ALL),
    "quoted semicolons": lambda table, file: table.to_csv(file, quoting=csv.QUOTE_ALL, sep=";", index=False),
    "Excel": lambda table, file: file.write_bytes(b"sep=;\r\n" + table.to_csv(sep=";", lineterminator="\r\n").encode()),
    "Unicode text": lambda table, file: table.to_csv(file, sep="\t", encoding="utf-16", index=False),
    "read and written again": lambda table, file: table.rename_axis("Unnamed: 0").to_csv(file),
    "Windows": lambda table, file: table.assign(path=table["path"].str.replace("/", "\\")).to_csv(file),
    "current folder": lambda table, file: table.assign(path=".\\" + table["path"].str.replace("/", "\\")).to_csv(file),
    "index of paths": lambda table, file: table.set_index("path").to_csv(file),
}


@pytest.mark.parametrize("how", WRITERS)
def test_each_program_gives_the_same_split(tmp_path: Path, how: str) -> None:
    table = rows(tmp_path)
    table.to_csv(tmp_path / "plain.csv", index=False)
    WRITERS[how](table, tmp_path / "my.csv")
    assert read(tmp_path).sha == read(tmp_path, "plain.csv").sha


def test_labels_in_windows_encoding_are_read_and_said(tmp_path: Path) -> None:
    table = rows(tmp_path).replace({"label": {"a": "Käfer", "x": "Größe"}})
    table.to_csv(tmp_path / "my.csv", encoding="cp1252", index=False)
    split = read(tmp_path)
    assert (split.train.classes, split.test.classes) == (("Käfer", "b"), ("Größe", "y"))
    assert remarks(split) == (
        "encoding: my.csv is not UTF-8 and was taken for Windows-1252: save it as UTF-8 if 'Käfer' is wrong",
    )
    table.to_csv(tmp_path / "my.csv", index=False)
    assert remarks(read(tmp_path)) == ()


def test_the_parquet_of_an_index_is_read(tmp_path: Path) -> None:
    table = rows(tmp_path)
    table.to_csv(tmp_path / "my.csv", index=False)
    table.set_index("path").to_parquet(tmp_path / "my.parquet")
    assert read(tmp_path, "my.parquet").sha == read(tmp_path).sha


def test_accents_in_another_form_of_unicode_are_the_same_name(tmp_path: Path) -> None:
    """A Mac writes names decomposed, into a table or onto the disk that the table is moved to."""
    table = rows(tmp_path)
    for stored, listed in (("NFD", "NFC"), ("NFC", "NFD")):
        place = Path(unicodedata.normalize(stored, f"é {stored}.png"))
        picture(tmp_path / place, 0)
        table.loc[len(table)] = [unicodedata.normalize(listed, str(place)), unicodedata.normalize(listed, "é"), "train"]
    table.to_csv(tmp_path / "my.csv", index=False)
    assert read(tmp_path).train.classes == ("a", "b", "é")


def test_a_home_folder_may_be_written_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = rows(tmp_path)
    table.assign(path="~/" + table["path"]).to_csv(tmp_path / "my.csv")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert manifest(None, path="~/my.csv", size=8).train.classes == ("a", "b")


@pytest.mark.parametrize(("path", "sentence"), [
    ("C:\\photos\\a.png", r"lists 'C:.*a.png', a path of Windows: write paths relative to the manifest's folder"),
    ("\\\\server\\photos\\a.png", "a path of Windows"),
    ("..\\a.png", "which is outside its folder: make such paths absolute"),
    ("photos", r"1 picture\(s\) that are there, but are no files, such as photos: correct the paths"),
    ("pipe.png", r"1 picture\(s\) that are there, but are no files, such as pipe.png"),
    ("link.png", r"1 picture\(s\) that are there, but are no files, such as link.png"),
    ("https://host/a.png", r"1 picture\(s\) that are not there, such as https:/host/a.png"),
    ("raw.dng", r"1 picture\(s\) that cannot be read, such as raw.dng \(a camera's raw file: export it as JPEG or PNG"),
    ("two\nlines.png", r"such as two\\nlines.png: correct"),
    ("x" * 300, r"1 picture\(s\) that are not there"),
    ("a\0.png", "is not UTF-8 "),
])  # fmt: skip
def test_a_path_that_leads_to_no_picture_is_a_sentence(tmp_path: Path, path: str, sentence: str) -> None:
    table = rows(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("nowhere")
    (tmp_path / "raw.dng").write_bytes(b"raw")
    table.loc[len(table)] = [path, "a", "train"]
    table.to_csv(tmp_path / "my.csv", index=False)
    with pytest.raises(DataError, match=sentence):
        read(tmp_path)
    if "such as" in sentence:
        split = read(tmp_path, skip_broken=True)
        assert len(split.train.labels) == 6
        assert "pictures left out: 1 that are missing or cannot be read" in (left_out(split) or "")


@pytest.mark.parametrize("link", [False, True])
def test_queries_that_lie_in_the_gallery_too_are_counted(tmp_path: Path, link: bool) -> None:
    table = rows(tmp_path).assign(role="")
    table.loc[table["split"] == "test", "role"] = ["query", "query", "gallery", "gallery", "gallery", "gallery"]
    for number, label in enumerate("xy"):
        source, copy = tmp_path / "photos" / label / "0.png", tmp_path / f"copy of {number}.png"
        copy.symlink_to(source) if link else copy.write_bytes(source.read_bytes())
        table.loc[len(table)] = [copy.name, label, "test", "gallery"]
    table.to_csv(tmp_path / "my.csv", index=False)
    split = read(tmp_path)
    assert remarks(split) == ("copies: 2 test picture(s) in the gallery too: photos/x/0.png",)
    assert split.gallery is not None
    assert len(split.gallery.labels) == 6


def test_pictures_that_only_look_alike_are_no_copies(tmp_path: Path) -> None:
    """The pictures of a class are of one colour, and their files of the same size, but not the same."""
    rows(tmp_path).to_csv(tmp_path / "my.csv", index=False)
    assert remarks(read(tmp_path)) == ()
