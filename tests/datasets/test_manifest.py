import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from support.sample_photos import picture as coloured

from bench.datasets.manifest import manifest
from bench.datasets.split import DataError, Split

HEADER = ["path", "label", "split"]


def red(label: str) -> int:
    return 10 * (ord(label[0]) - ord("a"))


def picture(place: Path, label: str) -> None:
    coloured(place, red(label))


def pictures(root: Path, train: str = "abc", test: str = "xyz", count: int = 3) -> list[list[str]]:
    """Rows of pictures in one flat folder, those of a class of one red and not one after the other."""
    rows = []
    for number in range(count):
        for label in train + test:
            picture(root / "photos" / f"{label}{number}.png", label)
            rows.append([f"photos/{label}{number}.png", label, "train" if label in train else "test"])
    return rows


def write(root: Path, rows: list[list[str]], header: list[str] = HEADER, *, delimiter: str = ",") -> Path:
    with (root / "my.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return root / "my.csv"


def read(root: Path, **parameters: bool | int) -> Split:
    return manifest(root, path="my.csv", **{"size": 8, **parameters})


def with_column(rows: list[list[str]], values: dict[str, str]) -> list[list[str]]:
    return [[*row, values.get(row[1], "")] for row in rows]


def reds(split: Split) -> dict[str, set[int]]:
    """Class name -> red of its pictures, over all parts."""
    return {
        name: set(part.images[part.labels == label, 4, 4, 0].tolist())
        for part in filter(None, split[:3])
        for label, name in enumerate(part.classes)
    }


def test_rows_become_the_split(tmp_path: Path) -> None:
    write(tmp_path, pictures(tmp_path))
    split = read(tmp_path)
    assert (split.train.classes, split.test.classes) == (tuple("abc"), tuple("xyz"))
    assert split.train.images.shape == split.test.images.shape == (9, 8, 8, 3)
    assert split.train.labels.tolist() == [0, 1, 2] * 3
    assert reds(split) == {label: {red(label)} for label in "abcxyz"}
    assert (split.gallery, split.train.texts, split.notes) == (None, None, {"manifest": "my.csv"})


def test_size_and_gray_shape_the_pictures(tmp_path: Path) -> None:
    write(tmp_path, pictures(tmp_path))
    split = read(tmp_path, size=9, gray=True)
    assert split.test.images.shape == (9, 9, 9, 1)
    assert split.test.images[0, 0, 0, 0] == round(0.299 * red("x") + 0.587 * 100 + 0.114 * 50)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_csv_of_any_spreadsheet_is_read_alike(tmp_path: Path, delimiter: str, ends: str, mark: bytes) -> None:
    names = {label: f'"{label}", röd; {"line" * 2}\n2' for label in "abcxyz"}
    rows = with_column(pictures(tmp_path), names)
    file = write(tmp_path, rows, [*HEADER, "text"], delimiter=delimiter)
    text = file.read_text(encoding="utf-8").replace("\n", ends) + ends
    file.write_bytes(mark + text.encode())
    split = read(tmp_path)
    assert split.train.classes == tuple("abc")
    assert [text.split() for text in split.train.texts or ()] == [names[label].split() for label in "abc"]


@pytest.mark.parametrize("types", [{}, {"label": int}, {"label": "category", "split": "category"}])
def test_parquet_gives_the_same_as_csv(tmp_path: Path, types: dict[str, type | str]) -> None:
    rows = [[path, str(ord(label)), side] for path, label, side in pictures(tmp_path)]
    write(tmp_path, rows)
    table = pd.DataFrame(rows, columns=HEADER).astype(types)
    table.assign(score=0.5).to_parquet(tmp_path / "my.parquet")
    one, two = read(tmp_path), manifest(None, path=str(tmp_path / "my.parquet"), size=8)
    assert two.sha == one.sha
    assert two.train.classes == ("97", "98", "99")


def test_labels_are_text_and_numbers_are_in_their_order(tmp_path: Path) -> None:
    names = dict(zip("abcdefgwxyz", ["10", "9", "007", "NA", "null", "b 2", "7", "11", "1e3", "12", "8"], strict=True))
    rows = [[path, names[label], side] for path, label, side in pictures(tmp_path, "abcdefg", "wxyz")]
    write(tmp_path, rows)
    split = read(tmp_path)
    assert split.train.classes == ("007", "7", "9", "10", "NA", "b 2", "null")
    assert split.test.classes == ("8", "11", "12", "1e3")


def test_a_folder_beside_that_of_the_manifest_is_outside(tmp_path: Path) -> None:
    write(tmp_path, [[f"../{tmp_path.name}2/a.png", "a", "train"]])
    with pytest.raises(DataError, match=r"lists '../\S+2/a.png', which is outside its folder"):
        read(tmp_path)


def test_other_columns_and_their_order_do_not_matter(tmp_path: Path) -> None:
    rows = pictures(tmp_path)
    write(tmp_path, rows)
    before = read(tmp_path).sha
    write(tmp_path, [["x, y", side, "", label, path] for path, label, side in rows],
          ["note", " split", "role", "label ", "path"])  # fmt: skip
    assert read(tmp_path).sha == before


def test_class_names_name_the_classes_where_no_two_share_one(tmp_path: Path) -> None:
    rows = pictures(tmp_path)
    names = {label: f"class {label}" for label in "abcxyz"}
    write(tmp_path, with_column(rows, names), [*HEADER, "class_name"])
    assert read(tmp_path).test.classes == ("class x", "class y", "class z")
    write(tmp_path, with_column(rows, {**names, "y": "class z"}), [*HEADER, "class_name"])
    assert read(tmp_path).test.classes == tuple("xyz")
    write(tmp_path, with_column(rows, {"x": "cross", "y": "why"}), [*HEADER, "class_name"])
    assert (read(tmp_path).train.classes, read(tmp_path).test.classes) == (tuple("abc"), ("cross", "why", "z"))


def test_a_text_may_stand_on_one_row_of_its_class(tmp_path: Path) -> None:
    texts = {label: f"text of {label}" for label in "abcxyz"}
    rows = with_column(pictures(tmp_path), texts)
    write(tmp_path, [*rows[:6], *([*row[:3], " "] for row in rows[6:])], [*HEADER, "text"])
    assert read(tmp_path).train.texts == ("text of a", "text of b", "text of c")


def roles(root: Path) -> list[list[str]]:
    """One query of p, q and r each, galleries of q, r, g and f; p has none, and g and f no query."""
    rows = [[*row, ""] for row in pictures(root, "ab", "", 2)]
    for role, labels in (("query", "rpq"), ("gallery", "gqrgqf")):
        for number, label in enumerate(labels):
            picture(root / role / f"{number}.png", label)
            rows.append([f"{role}/{number}.png", label, "test", role])
    return rows


def test_query_and_gallery_share_their_numbers(tmp_path: Path) -> None:
    write(tmp_path, roles(tmp_path), [*HEADER, "role"])
    split = read(tmp_path)
    assert split.gallery is not None
    assert (split.test.classes, split.gallery.classes) == (("q", "r"), ("q", "r", "f", "g"))
    assert (split.test.labels.tolist(), split.gallery.labels.tolist()) == ([1, 0], [3, 0, 1, 3, 0, 2])
    assert split.notes["classes left out"] == "1 with too few pictures: p"
    assert reds(split) == {label: {red(label)} for label in "abqrgf"}


def test_paths_may_make_detours_or_be_absolute_and_the_folder_may_move(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    rows = pictures(tmp_path / "one")
    write(tmp_path / "one", rows)
    before = read(tmp_path / "one").sha
    paths = [path for path, _, _ in rows]
    paths[:3] = [f"./{paths[0]}", f"photos/../{paths[1]}", str(tmp_path / "one" / paths[2])]
    picture(tmp_path / "elsewhere" / "b.png", "a")
    paths[3] = str(tmp_path / "elsewhere" / "b.png")
    picture(tmp_path / "one" / rows[3][0], "a")
    write(tmp_path / "one", [[path, *row[1:]] for path, row in zip(paths, rows, strict=True)])
    after = read(tmp_path / "one")
    assert after.sha != before
    assert after.test.images[0, 4, 4, 0] == red("a")
    write(tmp_path / "one", rows)
    (tmp_path / "one").rename(tmp_path / "two")
    assert read(tmp_path / "two").sha == after.sha


def test_a_changed_picture_or_manifest_is_read_again(tmp_path: Path) -> None:
    rows = pictures(tmp_path)
    write(tmp_path, rows)
    first = read(tmp_path)
    assert read(tmp_path).sha == first.sha
    write(tmp_path, [*rows[:-1], [rows[-1][0], "x", "test"]])
    assert np.bincount(read(tmp_path).test.labels).tolist() == [4, 3, 2]
    write(tmp_path, rows)
    Image.new("RGB", (30, 30), "white").save(tmp_path / rows[0][0])
    assert (read(tmp_path).train.images != first.train.images).any(axis=(1, 2, 3)).tolist() == [True] + [False] * 8


def test_a_changed_absolute_picture_is_read_again(tmp_path: Path) -> None:
    rows = pictures(tmp_path / "data")
    (tmp_path / "table").mkdir()
    write(tmp_path / "table", [[str(tmp_path / "data" / path), label, side] for path, label, side in rows])
    before = read(tmp_path / "table").sha
    Image.new("RGB", (30, 30), "white").save(tmp_path / "data" / rows[0][0])
    assert read(tmp_path / "table").sha != before


def test_small_classes_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = pictures(tmp_path)
    write(tmp_path, [row for row in rows if row[0] not in {"photos/a0.png", "photos/a1.png", "photos/x1.png"}])
    split = read(tmp_path)
    assert (split.train.classes, len(split.train.labels)) == (tuple("bc"), 6)
    assert (split.test.classes, np.bincount(split.test.labels).tolist()) == (tuple("xyz"), [2, 3, 3])
    assert split.notes["classes left out"] == "1 with too few pictures: a"
    assert reds(split) == {label: {red(label)} for label in "bcxyz"}
    assert read(tmp_path, min_images=1).train.classes == tuple("abc")


def test_missing_and_broken_pictures_are_named_or_left_out_and_counted(tmp_path: Path) -> None:
    write(tmp_path, pictures(tmp_path))
    for name in ("c0", "c2"):
        (tmp_path / "photos" / f"{name}.png").unlink()
    with pytest.raises(
        DataError, match=r"2 picture\(s\) that are not there, such as photos/c0.png: .*--skip-broken\).$"
    ):
        read(tmp_path)
    for name in ("c0", "c2", "x1"):
        (tmp_path / "photos" / f"{name}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"3 picture\(s\) that cannot be read, such as photos/c0.png \(an empty file"):
        read(tmp_path)
    (tmp_path / "photos" / "c2.png").unlink()
    split = read(tmp_path, skip_broken=True)
    left_out = "3 that are missing or cannot be read: photos/c0.png, photos/c2.png, photos/x1.png"
    assert split.notes["pictures left out"] == left_out
    assert split.notes["classes left out"] == "1 with too few pictures: c"
    assert Counter(split.test.labels.tolist()) == {0: 2, 1: 3, 2: 3}
    picture(tmp_path / "photos" / "c2.png", "c")
    assert read(tmp_path, skip_broken=True).train.classes == tuple("abc"), "a picture that came later is noticed"


@pytest.mark.parametrize(("content", "sentence"), [
    (b"path,labels,split\n", r"but has no 'label'; did you mean 'labels'\?$"),
    (b"path,label,split\na.png,a,train\nb.png, ,train\n", r"1 row\(s\) without a label, such as row 2: add it"),
    (b"path,label,split\n../a.png,a,train\n", r"lists '../a.png', which is outside its folder: make such paths abs"),
    (b"path,label,split\nb/../../a.png,a,train\n", r"lists 'b/../../a.png', which is outside its folder"),
    (b"path,label,split\na.png,a,train\nb.png,a,val\nc.png,b,val\n", r"2 row\(s\) with split 'val', not train or test"),
    (b"path,label,split\na.png,a,Train\n", r"1 row\(s\) with split 'Train', not train or test: change them"),
    (b"path,label,split\na.png,a,train\n./a.png,a,train\n", "lists a.png more than once: keep one row per picture"),
    (b"path,label,split\na.png,a,train\nb.png,a,test\nc.png,b,test\n", "has a in both train and test, where no class"),
    (b"path,label,split\n", r"has 0 train class\(es\) with enough pictures \(2\): two are needed on either side"),
    (b"path,label,split,role\na.png,a,test,query\nb.png,b,test,\n", r"1 row\(s\) with role '', not query or gallery"),
    (b"path,label,split,role\na.png,a,test,query\nb.png,b,test,galery\n", r"1 row\(s\) with role 'galery', not query"),
    (b"path,label,split,role\na.png,a,test,query\nb.png,b,test,query\n", "gives all test rows the role query: give"),
    (b"path,label,split,role\na.png,a,train,\nb.png,a,test,query\nc.png,b,test,gallery\n", "a in both train and test"),
    (b"path,label,split,text\na.png,a,train,one\nb.png,a,train,two\n", "more than one text for the label 'a', 'one' a"),
    (b"path,label,split,text\na.png,a,train,one\nb.png,b,train,\n", r"no text for 1 label\(s\), such as 'b': add them"),
    (b"path,label,split,class_name\na.png,a,train,A\nb.png,a,train,B\n", "than one class_name for the label 'a', 'A'"),
])  # fmt: skip
def test_a_table_that_does_not_fit_is_a_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "my.csv").write_bytes(content)
    with pytest.raises(DataError, match=f"my.csv .*{sentence}"):
        read(tmp_path)


@pytest.mark.parametrize("side", ["train", "test"])
@pytest.mark.parametrize("left", [0, 1])
def test_a_side_without_two_classes_is_a_sentence(tmp_path: Path, side: str, left: int) -> None:
    rows = pictures(tmp_path)
    write(tmp_path, [row for row in rows if row[2] != side or row[1] in "ax"[:left * 2]])  # fmt: skip
    with pytest.raises(DataError, match=rf"has {left} {side} class\(es\) with enough pictures \(2\): two are needed"):
        read(tmp_path)


def test_a_missing_manifest_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no.csv is not a file: set path to the CSV or Parquet that lists the"):
        manifest(tmp_path, path="no.csv")
    with pytest.raises(DataError, match="manifest needs an absolute path, or --data DIR"):
        manifest(None, path="no.csv")


def test_a_real_manifest(shared: Path) -> None:
    """Names agree with the labels of the pictures' rows, read by another reader."""
    folder = shared / "data" / "cars196_half"
    if not (folder / "manifest.csv").exists():
        pytest.skip("BENCH_SHARED has no data/cars196_half")
    split = manifest(shared / "data", path="cars196_half/manifest.csv", size=16)
    table = pd.read_csv(folder / "manifest.csv")
    for part, side, count in ((split.train, "train", 4052), (split.test, "test", 4092)):
        rows = table[table["split"] == side]
        assert part.images.shape == (count, 16, 16, 3)
        assert len(part.classes) == 98
        assert [part.classes[label] for label in part.labels.tolist()] == rows["class_name"].tolist()
        with Image.open(folder / rows["path"].iloc[7]) as opened:
            middle = np.asarray(opened.convert("RGB")).mean(axis=(0, 1))
        assert np.abs(part.images[7].mean(axis=(0, 1)) - middle).max() < 40
