"""What is read of a file of labels, and what is refused, in one sentence."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.sample_files import saved

from bench.datasets.files.labels_file import read_labels
from bench.datasets.split import DataError


def refused(sentence: str, file: Path) -> None:
    with pytest.raises(DataError, match=re.escape(sentence)) as caught:
        read_labels(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_number_is_the_same_label_however_it_is_stored(tmp_path: Path) -> None:
    (tmp_path / "y.txt").write_text("3\n10\n-1\n")
    for values in (
        np.array([3, 10, -1]),
        np.array([3.0, 10.0, -1.0]),
        np.array([[3], [10], [-1]]),
        np.array([b"3", b"10", b"-1"]),
    ):
        assert read_labels(saved(tmp_path / "y.npy", values)).tolist() == ["3", "10", "-1"]
    assert read_labels(tmp_path / "y.txt").tolist() == ["3", "10", "-1"]


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.linspace(0, 1, 40), "no whole numbers"),
        (np.zeros((40, 2), int), "shape (40, 2)"),
        (np.zeros(40, complex), "complex"),
    ],
)
def test_what_are_no_labels_is_refused(labels: Any, sentence: str, tmp_path: Path) -> None:
    refused(sentence, saved(tmp_path / "y.npy", labels))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_an_index_beside_labels_of_another_name_is_a_second_column(separator: str, tmp_path: Path) -> None:
    file = tmp_path / "y.csv"
    file.write_text("".join(f"{separator.join(row)}\n" for row in (("", "target"), ("0", "a"), ("1", "b"))))
    refused("has several columns and none is named label", file)
    file.write_text(file.read_text().replace("target", "label"))
    assert read_labels(file).tolist() == ["a", "b"]


@pytest.mark.parametrize("heading", ["label", "Labels", "target", "class", "y"])
def test_a_heading_of_a_single_column_is_no_label(heading: str, tmp_path: Path) -> None:
    file = tmp_path / "y.csv"
    file.write_text(f"{heading}\n3\n10\n3\n")
    assert read_labels(file).tolist() == ["3", "10", "3"]
    file.write_text(f"{heading}\n3\n{heading}\n3\n")
    expected = ["3", heading, "3"] if heading == "label" else [heading, "3", heading, "3"]
    assert read_labels(file).tolist() == expected


def test_labels_that_are_empty_or_undecodable_are_refused(tmp_path: Path) -> None:
    refused("no label in row 2", saved(tmp_path / "y.npy", np.array(["a", " "])))
    refused("not UTF-8", saved(tmp_path / "y.npy", np.array([b"\xff", b"a"])))
    refused("of datetime64", saved(tmp_path / "y.npy", np.array(["2020-01-01"], "M8[D]")))
