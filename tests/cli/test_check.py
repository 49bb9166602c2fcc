"""`bench check` as a user and a CI job give it: exit codes, files, sentences; trained for real where it says so."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as xml

import pandas as pd
import pytest
from support.checked_runs import executor, level, lower, write_baseline
from support.jobs import matrix_file
from support.terminal import BENCH, surroundings
from typer.testing import CliRunner

import bench
from bench.cli.app import app
from bench.execute import matrix_run


def call(*arguments):
    return CliRunner().invoke(app, ["check", *map(str, arguments)], catch_exceptions=False)


def command(*arguments):
    return subprocess.run([*BENCH, "check", *map(str, arguments)], capture_output=True, text=True, env=surroundings())


@pytest.fixture
def fresh(monkeypatch):
    def set_scores(score, **options):
        monkeypatch.setitem(matrix_run.EXECUTORS, "local", executor(score, **options))

    return set_scores


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    return write_baseline(tmp_path_factory.mktemp("baseline") / "b.parquet")


@pytest.fixture
def matrix(tmp_path):
    return matrix_file(tmp_path, losses='["triplet", "contrastive", "arc_face", "multi_similarity"]')


@pytest.mark.usefixtures("no_workers")
def test_trained_twice_the_bits_are_the_same_and_a_real_fault_is_seen(tmp_path):
    """Real trainings: a baseline, an unchanged tree, and one in which nothing is learned any more."""
    matrix, file = matrix_file(tmp_path), tmp_path / "b.parquet"
    made = command(matrix, "--make-baseline", file, "--seeds", 3)
    assert (made.returncode, made.stdout) == (0, ""), made.stderr
    assert made.stderr.endswith(f"{file}: 6 rows\n")
    assert "query_first_hit" not in pd.read_parquet(file)
    same = command(matrix, "--baseline", file, "--strict")
    assert same.returncode == 0, same.stderr
    assert same.stdout.endswith("Same bits: every embedding and every first hit is that of the baseline.\n")
    assert "[2/2]" in same.stderr
    rows = bench.load(file)
    rows.assign(recall_at_1=rows["recall_at_1"] + 0.5, embeddings_sha="other").to_parquet(file)
    worse = call(matrix, "--baseline", file)
    assert worse.exit_code == 1
    assert "Worse than the baseline: triplet worse" in worse.stdout
    assert "[6/6]" in worse.stderr


def test_ctrl_c_is_130_and_leaves_nothing(tmp_path, baseline):
    matrix = matrix_file(tmp_path, losses='["triplet", "contrastive", "arc_face", "multi_similarity"]')
    (tmp_path / "temporary").mkdir()
    asked = [*BENCH, "check", str(matrix), "--baseline", str(baseline), "--workers", "1"]
    place = surroundings(TMPDIR=str(tmp_path / "temporary"))
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=place) as process:
        while not list((tmp_path / "temporary").glob("lossbench-*")):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 130
    assert "interrupted; the same command begins anew" in said
    assert list((tmp_path / "temporary").iterdir()) == []


def test_the_table_and_its_files(fresh, matrix, baseline, tmp_path):
    fresh(lower({"triplet": 0.1}, noise=0.0005))
    files = tmp_path / "j.xml", tmp_path / "m.md"
    result = call(matrix, "--baseline", baseline, "--junit", files[0], "--markdown", files[1])
    assert result.exit_code == 1
    words = [line.split() for line in result.stdout.splitlines()]
    assert ["method", "verdict", "baseline", "fresh", "drop", "at", "most"] in words
    (line,) = [one for one in words if one[:2] == ["triplet", "worse"]]
    assert float(line[2]) - float(line[3]) == pytest.approx(float(line[4]), abs=0.11)
    suite = xml.parse(files[0]).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("5", "2", "0")
    assert {case.get("name") for case in suite if case.find("failure") is not None} == {"triplet", "mean of all"}
    assert "| **triplet** | **worse** |" in files[1].read_text()
    assert files[1].read_text().startswith("## bench check: Worse than the baseline: triplet worse, mean of all worse.")


def test_what_cannot_be_told_passes_unless_strict(fresh, matrix, baseline, tmp_path):
    fresh(lower({}, noise=0.05))
    lax, strict = (
        call(matrix, "--baseline", baseline, "--junit", tmp_path / f"{len(more)}.xml", *more)
        for more in ([], ["--strict"])
    )
    assert (lax.exit_code, strict.exit_code) == (0, 1)
    assert lax.stdout == strict.stdout
    assert "points would be seen three times in four." in lax.stdout
    one, other = (xml.parse(tmp_path / f"{count}.xml").getroot() for count in (0, 1))
    assert (one.get("failures"), other.get("skipped")) == ("0", "0")
    assert one.get("skipped") == other.get("failures") != "0"


def test_json(fresh, matrix, baseline):
    fresh(lower({"triplet": 0.1}))
    found = json.loads(call(matrix, "--baseline", baseline, "--json").stdout)
    python = bench.check(matrix, baseline)
    assert found["regressed"] is True
    assert found["boards"][0]["methods"][0]["drop"] == python.boards[0].methods[0].drop
    fresh(level)
    text = call(matrix, "--baseline", baseline, "--json").stdout
    assert "NaN" not in text
    assert json.loads(text)["boards"][0]["mean"]["p"] is None


def test_stored_rows_count_only_with_reuse(fresh, matrix, baseline, tmp_path):
    runs = tmp_path / "runs"
    fresh(level)
    assert call(matrix, "--baseline", baseline, "--reuse", "--results", runs).exit_code == 0
    fresh(lower({"triplet": 0.3}))
    assert call(matrix, "--baseline", baseline, "--reuse", "--results", runs).exit_code == 0
    assert call(matrix, "--baseline", baseline, "--results", runs).exit_code == 1


def cut(file: Path) -> bytes:
    return file.read_bytes()[:-100]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "there is no such baseline; make it with bench check MATRIX --make-baseline {file}"),
        (lambda _: b"", "is no Parquet file"),
        (lambda _: b"recall 0.7\n", "is no Parquet file"),
        (cut, "is damaged"),
        ("foreign", "has no column 'key'"),
    ],
)
def test_a_baseline_that_cannot_be_read(fresh, matrix, baseline, tmp_path, content, sentence):
    fresh(level)
    file = tmp_path / "c.parquet"
    if content == "foreign":
        pd.DataFrame({"a": [1]}).to_parquet(file)
    elif content is not None:
        file.write_bytes(content(baseline))
    result = call(matrix, "--baseline", file)
    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence.format(file=file) in result.stderr
    assert "planned" not in result.stderr


def test_what_is_not_comparable_is_3_and_in_the_files(fresh, matrix, baseline, tmp_path):
    fresh(level)
    files = tmp_path / "j.xml", tmp_path / "m.md"
    asked = (matrix, "--baseline", baseline, "--set", "recipe.epochs=3", "--junit", files[0], "--markdown", files[1])
    result = call(*asked)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == f"bench: {baseline} is not comparable: recipe.epochs is 2 there, 3 here.\n"
    assert xml.parse(files[0]).getroot().get("errors") == "1"
    assert "recipe.epochs is 2 there, 3 here." in files[1].read_text()


def test_nothing_measured_is_3(fresh, matrix, baseline, tmp_path):
    fresh(lambda job: "The disk was full.\x1b[0m")
    result = call(matrix, "--baseline", baseline, "--junit", tmp_path / "j.xml")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "nothing was measured: 4 of 4 jobs have no score" in result.stderr
    assert xml.parse(tmp_path / "j.xml").getroot().get("errors") == "1"
    made = call(matrix, "--make-baseline", tmp_path / "b.parquet")
    assert made.exit_code == 3
    assert "so no baseline was written" in made.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name a baseline with --baseline FILE, or write one with --make-baseline FILE"),
        (["--baseline", "{file}", "--make-baseline", "x"], "name a baseline with --baseline FILE, or write one"),
        (["--baseline", "{file}", "--seeds", "3"], "--seeds belongs to --make-baseline"),
        (["--make-baseline", "x", "--reuse"], "belong to a check"),
        (["--make-baseline", "x", "--junit", "j.xml"], "belong to a check"),
        (
            ["--baseline", "{file}", "--junit", "nowhere/j.xml"],
            "--junit nowhere/j.xml: cannot be written",
        ),
        (["--baseline", "{file}", "--metric", "recall@1"], "there is no score 'recall@1'; did you mean 'recall_at_1'"),
        (["--baseline", "{file}", "--set", "recipe.epoch=1"], "did you mean 'epochs'"),
        (["--baseline", "{file}", "--device", "gpu"], "choose auto, cpu or cuda"),
    ],
)
def test_wrong_requests(fresh, matrix, baseline, arguments, sentence):
    fresh(level)
    result = call(matrix, *(word.format(file=baseline) for word in arguments))
    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence in result.stderr


def test_a_decision_waits_for_no_torch(tmp_path, baseline):
    code = (
        "import sys; from bench.execute.regression_check import check; from bench.report import regression;"
        "from bench.cli import check; print({'torch', 'faiss', 'timm'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
