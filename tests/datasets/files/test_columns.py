import csv
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.datasets.files.columns import read_columns
from bench.datasets.files.text_file import read_text
from bench.datasets.split import DataError

NEEDED = ("path", "label", "split")


def test_the_columns_asked_for_are_read_as_text(tmp_path: Path) -> None:
    (tmp_path / "my.csv").write_text("note, label,path ,extra\nx, 007,a b.png ,\ny,NA,c.png,1\n", encoding="utf-8")
    columns = read_columns(tmp_path / "my.csv", ("path", "label"), ("extra", "absent"))
    assert columns == {"path": ["a b.png", "c.png"], "label": ["007", "NA"], "extra": ["", "1"]}


def test_names_of_parquet_columns_are_found_in_any_case(tmp_path: Path) -> None:
    pd.DataFrame({"Path": ["a"], "LABEL": ["x"], "Split": ["train"]}).to_parquet(tmp_path / "my.parquet")
    assert read_columns(tmp_path / "my.parquet", NEEDED) == {"path": ["a"], "label": ["x"], "split": ["train"]}


@pytest.mark.parametrize(("column", "value"), [("path", "straße"), ("straße", "x")])
def test_damaged_letters_of_parquet_are_a_sentence(tmp_path: Path, column: str, value: str) -> None:
    file = tmp_path / "my.parquet"
    columns = {"path": ["x"], "label": ["x"], "split": ["train"], column: [value]}
    pd.DataFrame(columns).to_parquet(file, compression=None)
    file.write_bytes(file.read_bytes().replace("ß".encode(), b"\xdea"))
    with pytest.raises(DataError, match=r"my.parquet cannot be read as Parquet .*: write it again\.$"):
        read_columns(file, NEEDED)


def test_parquet_of_any_type_is_read_as_text(tmp_path: Path) -> None:
    columns = {"label": [3, 10], "score": [2.0, None], "split": pd.Categorical(["b ", "a"]), "box": [[1], [2]]}
    pd.DataFrame(columns).to_parquet(tmp_path / "my.pq")
    found = read_columns(tmp_path / "my.pq", ("label", "split"), ("score",))
    assert found == {"label": ["3", "10"], "split": ["b", "a"], "score": ["2", ""]}


def test_empty_rows_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "my.csv").write_text("\n \nlabel;split\n;\n\na;train\n  ;  \n \n", encoding="utf-8")
    assert read_columns(tmp_path / "my.csv", ("label", "split")) == {"label": ["a"], "split": ["train"]}


PLAIN = "path,label,split\na b.png,Käfer,train\nc.png,NA,test\n"
EXCEL = PLAIN.replace(",", ";")
QUOTED = '"path","label","split"\n"a b.png","Käfer","train"\n"c.png","NA","test"\n'


@pytest.mark.parametrize("content", [
    PLAIN.encode(),
    PLAIN.encode("utf-8-sig"),
    PLAIN.encode("utf-16"),  # Excel's Unicode text has a mark, and tabs
    PLAIN.replace(",", "\t").encode("utf-16"),
    b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    PLAIN.encode("utf-32"),
    PLAIN.encode("cp1252"),
    PLAIN.replace("\n", "\r\n").encode(),
    PLAIN.replace("\n", "\r").encode(),
    PLAIN.replace("\n", "\n\n \n").encode(),
    PLAIN.replace(",", " , ").encode(),
    PLAIN.replace("\n", ",\n").encode(),
    PLAIN.replace("path,label,split", "Path,LABEL,Split").encode(),
    EXCEL.replace("path;label;split", "Path;Label;Split").encode(),
    PLAIN.replace("n\n", "n,\n").replace("t\n", "t,\n").replace("split,", "split").encode(),
    PLAIN.replace(",", "|").encode(),
    QUOTED.encode(),
    QUOTED.replace(",", ";").encode(),
    QUOTED.replace(",", "\t").encode(),
    QUOTED.replace(",", ", ").encode(),
    EXCEL.encode(),
    b"sep=;\r\n" + EXCEL.encode(),
    b'\xef\xbb\xbf"sep=;"\r\n' + EXCEL.encode(),
    b"SEP=\t\n" + PLAIN.replace(",", "\t").encode(),
    b"sep=^\n" + PLAIN.replace(",", "^").encode("cp1252"),
    b'"","path","label","split"\n"1","a b.png","K\xc3\xa4fer","train"\n"2","c.png","NA","test"\n',  # R's write.csv
    b"Unnamed: 0,path,label,split\n0,a b.png,K\xc3\xa4fer,train\n1,c.png,NA,test\n",  # pandas, read and written
    b',path,label,split,"a, note"\n0,a b.png,K\xc3\xa4fer,train,"x\ny"\n1,c.png,NA,test,\n',  # pandas with its index
])  # fmt: skip
def test_the_same_table_of_any_program_is_read_alike(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "my.csv").write_bytes(content)
    expected = {"path": ["a b.png", "c.png"], "label": ["Käfer", "NA"], "split": ["train", "test"]}
    assert read_columns(tmp_path / "my.csv", NEEDED) == expected


def test_pandas_writes_what_is_read(tmp_path: Path) -> None:
    table = pd.DataFrame({"path": ["a,b.png", 'c"d.png'], "label": ["x", "y;z"], "split": ["train", "test"]})
    for number, how in enumerate([{}, {"index": False}, {"quoting": csv.QUOTE_ALL}, {"sep": ";"}, {"sep": "\t"}]):
        table.to_csv(tmp_path / f"{number}.csv", **how)
        assert read_columns(tmp_path / f"{number}.csv", NEEDED) == table.to_dict("list")


@pytest.mark.parametrize(("content", "doubt"), [
    (b"a", ""),
    ("é".encode(), ""),
    ("Größe é".encode("utf-16"), ""),
    ("1,Größe 7;x".encode("cp1252"), "my.csv is not UTF-8 and was taken for Windows-1252: .* if 'Größe 7' is wrong"),
])  # fmt: skip
def test_an_encoding_that_is_guessed_is_named(tmp_path: Path, content: bytes, doubt: str) -> None:
    (tmp_path / "my.csv").write_bytes(content)
    assert re.fullmatch(doubt, read_text(tmp_path / "my.csv").doubt)


@pytest.mark.parametrize(("content", "sentence"), [
    (b"", r"needs the columns path, label, split, but has no 'path'; there are none$"),
    (b"path,labels,split\n", r"but has no 'label'; did you mean 'labels'\?$"),
    (b",path,label\n0,a.png,a\n1,b.png,a\n", "but has no 'split'; known: label, path$"),
    (b'"","path","label"\n"1","a.png","a"\n', "but has no 'split'; known: label, path$"),
    (b",label,split\na.png,a,train\n", "but has no 'path'; column 1 has no name, perhaps it is this one$"),
    (b"Path,PATH,label,split\n", r"has 2 columns called 'path': keep one"),
    (b"file;class;side\n", r"but has no 'path'; known: class, file, side$"),
    (b"path,label,split\na.png,a\n", r"has 2 value\(s\) in row 1, not 3 as its first line: put values .* in quotes"),
    (b"path;label;split\na.png;a;b;train\n", r"has 4 value\(s\) in row 1, not 3 .* that hold ';' in quotes"),
    (b'path,label,split\n"a.png,a,train\n', r"cannot be read as CSV \(unexpected end of data\): write it again"),
    (b"path,label,split\np\x81r.png,a,train\n", "is not UTF-8: save it in that encoding"),
    ("path,label,split\n".encode("utf-16-le"), r"is not UTF-8 \(it has zero bytes, as UTF-16 has\): save it in that"),
    (b"PK\x03\x04 of a workbook", r"is a workbook or another zip archive: save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0 of a workbook", "is an old workbook of Excel: save the sheet as CSV UTF-8"),
    (b"\x1f\x8b of gzip", "is compressed: unpack it"),
    (b"PAR1 of Parquet", "is Parquet: give it a name that ends in .parquet"),
    (b"path,label,split\n1,a.png,a,train\n2,b.png,a,train\n", r"4 values in every row, but 3 names .*row.names = FAL"),
    (b"path,label,label,split\n", "has 2 columns called 'label': keep one, or rename the others"),
    (b"path,label,split,text,text\n", "has 2 columns called 'text': keep one"),
    (b'"path":"label":"split"\n"a.png":"a":"train"\n', "needs the columns path, label, split, but has no 'path'"),
    (b",label,split\na.png,a,train\n", "has no 'path'; column 1 has no name, perhaps it is this one"),
    (b"Unnamed: 0,label,split\na.png,a,train\n", "has no 'path'; column 1 has no name, perhaps it is this one"),
    (b"path,label,split\na.png,a,train\nb.png, ,train\n", r"1 row\(s\) without a label, such as row 2: add it"),
    (b"path,label,split\n,a,train\n", r"1 row\(s\) without a path, such as row 1: add it"),
])  # fmt: skip
def test_a_csv_that_does_not_fit_is_a_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "my.csv").write_bytes(content)
    with pytest.raises(DataError, match=f"my.csv .*{sentence}"):
        read_columns(tmp_path / "my.csv", NEEDED, ["text"])


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
