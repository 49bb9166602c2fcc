"""`bench compare` as a user gives it: what is printed, and what a wrong request is told."""

import json
import re
from pathlib import Path

import pytest
from support.sample_rows import part, row, unfinished
from support.stored_boards import stored_rows, write_rows
from typer.testing import CliRunner, Result

import bench
from bench.cli.app import app

ROOT = Path(__file__).parents[2]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "rows.parquet", stored_rows())


def test_a_pair_in_words(file: Path) -> None:
    result = call("best", "second", "--results", file)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "glyphs, conv4, Recall@1"
    assert lines[2].split() == ["best", "80.0", "±", "0.8", "5", "0.7"]
    assert lines[4].startswith("best is better than second by 9.8 points")
    assert "One run of best beats one run of second in >99 % of cases." in lines


def test_a_tie_says_that_new_classes_are_unknown(file: Path) -> None:
    said = call("second", "third", "--results", file).stdout
    assert "second and third cannot be told apart on these test classes" in said
    assert "nothing is known about new ones" in said


def test_an_interval_without_0_among_many_pairs_is_explained(tmp_path: Path) -> None:
    several = {f"m{place}": (0.5 + place / 100, 0.51 + place / 100, 0.52 + place / 100) for place in range(9)}
    file = write_rows(tmp_path / "a.parquet", stored_rows(several))
    said = call("m3", "m0", "--results", file).stdout
    assert "cannot be told apart" in said
    assert "among 36 pairs so large a gap may be chance" in said


def test_all_methods_with_ranks_groups_and_pairs(file: Path) -> None:
    result = call("--all", "--results", file)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[1] == "best is better than every other (Holm over 6 pairs). 5 of 6 pairs are told apart."
    words = [line.split() for line in lines]
    assert ["2", "second", "70.2", "±", "0.9", "5", "0.8", "2–3", "b"] in words
    assert lines[10:14] == ["1 ·>>>", "2 <·=>", "3 <=·>", "4 <<<·"]
    assert "? no verdict" in lines[-1]


@pytest.mark.parametrize("asked", [("best", "last"), ("--all",)])
def test_json_has_the_values_of_python(file: Path, asked: tuple[str, ...]) -> None:
    found = json.loads(call(*asked, "--results", file, "--json").stdout)
    (board,) = bench.compare(*(name for name in asked if name != "--all"), results=file).boards
    assert [one["p"] for one in found["boards"][0]["pairs"]] == [one.p for one in board.pairs]
    assert found["boards"][0]["sentences"] == list(board.sentences)
    assert found["boards"][0]["pairs"][0]["new"]["interval"] == {"low": None, "high": None}
    assert [place["ranks"] for place in found["boards"][0]["methods"]] == [[1, 1], [2, 3], [2, 3], [4, 4]]


def test_json_of_more_seeds_than_are_counted(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.parquet", stored_rows({"a": (0.5, 0.6), "b": (0.501, 0.6)}))
    text = call("a", "b", "--results", file, "--json").stdout
    assert json.loads(text)["boards"][0]["pairs"][0]["needed"]["high"] == "more than 60"
    assert "NaN" not in text
    assert "Infinity" not in text


def test_only_the_cells_of_a_matrix_count() -> None:
    reference = ROOT / "results/reference.parquet"
    words = ("--results", reference, "--dataset", "glyphs", "--json")
    whole, part = (
        json.loads(call("triplet", "contrastive", *words, *more).stdout) for more in ((), ("--matrix", "losses"))
    )
    assert part["boards"][0]["pairs"][0]["pairs"] < whole["boards"][0]["pairs"][0]["pairs"]


@pytest.mark.parametrize("file", ["reference", "small"])
def test_the_committed_results_can_be_compared(file: str) -> None:
    result = call("--all", "--results", ROOT / f"results/{file}.parquet")
    assert result.exit_code == 0
    assert not re.search(r"\bnan\b", result.stdout)
    assert result.stdout.count("pairs are told apart.") == 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["bset", "last"], "there is no method 'bset' in {file}, glyphs; did you mean 'best'?"),
        (["best", "best"], "'best' is compared with itself: name two methods, or another file with --against."),
        (["best", "best", "--against", "{file}"], "'best' is compared with itself"),
        (["best"], "name two methods, as in bench compare triplet contrastive; or add --all."),
        ([], "or add --all"),
        (["best", "last", "--all"], "leave A, B and --against out"),
        (["best", "last", "--dataset", "glyph"], "there is no dataset 'glyph'; did you mean 'glyphs'?"),
        (["best", "last", "--metric", "recall@1"], "did you mean 'recall_at_1'?"),
        (["best", "last", "--matrix", "dem0"], "did you mean 'demo'?"),
        (["best", "last", "--against", "nowhere"], "nowhere: no results here"),
        (["best", "failing"], "'failing' has no scores in {file}: it is failed (The disk was full)."),
    ],
)
def test_wrong_requests(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    rows = [*stored_rows(), unfinished("failing", 0, "failed", "The disk was full.")]
    file = write_rows(tmp_path / "rows.parquet", rows)
    result = call(*(word.format(file=file) for word in arguments), "--results", file)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert sentence.format(file=file) in result.stderr


def test_a_file_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not rows")
    result = call("a", "b", "--results", tmp_path / "notes.txt")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is no Parquet file" in result.stderr


def test_nothing_to_compare_is_exit_code_3(tmp_path: Path, file: Path) -> None:
    empty = tmp_path / "runs"
    empty.mkdir()
    cases = [
        (("--all", "--results", empty), "has no results to compare"),
        (("a", "b", "--results", empty), "has no results to compare"),
        (
            ("best", "last", "--results", file, "--matrix", "demo"),
            "of the matrix demo; run it first: bench run demo",
        ),
        (("--all", "--results", write_rows(tmp_path / "1.parquet", [row("a", 0)])), "has one method with this score"),
        (
            ("--all", "--results", write_rows(tmp_path / "0.parquet", [unfinished("a", 0, "failed", "No.")])),
            "no job has a score 'recall_at_1'",
        ),
    ]
    for arguments, sentence in cases:
        result = call(*arguments)
        assert (result.exit_code, result.stdout) == (3, ""), arguments
        assert sentence in result.stderr


def test_ambiguous_labels_list_the_cells(tmp_path: Path) -> None:
    twins = [row(part("twin", margin=margin), seed) for margin in (0.1, 0.2) for seed in (0, 1)]
    result = call("twin", "last", "--results", write_rows(tmp_path / "a.parquet", [*stored_rows(), *twins]))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "'twin' stands for 2 methods on glyphs: name one of 'twin (margin=0.1)' (cell glyphs-" in result.stderr
