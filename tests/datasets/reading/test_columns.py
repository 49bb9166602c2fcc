from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.datasets.reading.columns import read_columns
from bench.datasets.split import DataError

NEEDED = ("path", "label", "split")


def test_the_columns_asked_for_are_read_as_text(tmp_path: Path) -> None:
    (tmp_path / "my.csv").write_text("note, label,path ,extra\nx, 007,a b.png ,\ny,NA,c.png,1\n", encoding="utf-8")
    columns = read_columns(tmp_path / "my.csv", ("path", "label"), ("extra", "absent"))
    assert columns == {"path": ["a b.png", "c.png"], "label": ["007", "NA"], "extra": ["", "1"]}


def test_parquet_of_any_type_is_read_as_text(tmp_path: Path) -> None:
    columns = {"label": [3, 10], "score": [2.0, None], "split": pd.Categorical(["b ", "a"]), "box": [[1], [2]]}
    pd.DataFrame(columns).to_parquet(tmp_path / "my.pq")
    found = read_columns(tmp_path / "my.pq", ("label", "split"), ("score",))
    assert found == {"label": ["3", "10"], "split": ["b", "a"], "score": ["2", ""]}


def test_empty_rows_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "my.csv").write_text("\n \nlabel;split\n;\n\na;train\n  ;  \n \n", encoding="utf-8")
    assert read_columns(tmp_path / "my.csv", ("label", "split")) == {"label": ["a"], "split": ["train"]}


@pytest.mark.parametrize(("content", "sentence"), [
    (b"", r"needs the columns path, label, split, but has no 'path'; there are none$"),
    (b"path,labels,split\n", r"but has no 'label'; did you mean 'labels'\?$"),
    (b"file;class;side\n", r"but has no 'path'; known: class, file, side$"),
    (b"path,label,split\na.png,a\n", r"has 2 value\(s\) in row 1, not 3 as its first line: put values .* in quotes"),
    (b"path;label;split\na.png;a;b;train\n", r"has 4 value\(s\) in row 1, not 3 .* that hold ';' in quotes"),
    (b'path,label,split\n"a.png,a,train\n', r"cannot be read as CSV \(unexpected end of data\): write it again"),
    (b"path,label,split\np\xe4r.png,a,train\n", "is not UTF-8: save it in that encoding"),
    ("path,label,split\n".encode("utf-16"), "is not UTF-8: save it in that encoding"),
    (b"path,label,split\na.png,a,train\nb.png, ,train\n", r"1 row\(s\) without a label, such as row 2: add it"),
    (b"path,label,split\n,a,train\n", r"1 row\(s\) without a path, such as row 1: add it"),
])  # fmt: skip
def test_a_csv_that_does_not_fit_is_a_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "my.csv").write_bytes(content)
    with pytest.raises(DataError, match=f"my.csv .*{sentence}"):
        read_columns(tmp_path / "my.csv", NEEDED)


@pytest.mark.parametrize("kept", [0, 3, 10, 500, -1])
def test_a_parquet_cut_short_is_a_sentence(tmp_path: Path, kept: int) -> None:
    file = tmp_path / "my.parquet"
    pd.DataFrame({name: ["a", "b"] for name in NEEDED}).to_parquet(file)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"my.parquet cannot be read as Parquet .*: write it again\.$"):
        read_columns(file, NEEDED)


@pytest.mark.parametrize(("columns", "sentence"), [
    ({"path": ["a.png"], "label": [["a"]], "split": ["train"]}, "cannot be read as Parquet with columns of text"),
    ({"path": ["a.png"], "label": [None], "split": ["train"]}, r"1 row\(s\) without a label, such as row 1: add it"),
    ({"path": ["a.png"], "lable": ["a"], "split": ["train"]}, r"has no 'label'; did you mean 'lable'\?"),
])  # fmt: skip
def test_a_parquet_that_does_not_fit_is_a_sentence(tmp_path: Path, columns: dict[str, Any], sentence: str) -> None:
    pd.DataFrame(columns).to_parquet(tmp_path / "my.parquet")
    with pytest.raises(DataError, match=f"my.parquet .*{sentence}"):
        read_columns(tmp_path / "my.parquet", NEEDED)
