"""`bench run --until` and `bench plan --decide` as a user gives them."""

import json
import math
from pathlib import Path

import pytest
from support.jobs import matrix_file
from support.stored import finished
from typer.testing import CliRunner, Result

from bench import store
from bench.cli.app import app
from bench.matrix.expand import expand
from bench.matrix.file import load

SCORES = {"triplet": (0.60, 0.63, 0.59), "contrastive": (0.61, 0.58, 0.60), "proxy_nca": (0.2, 0.22, 0.21)}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    return matrix_file(tmp_path, losses='["triplet", "contrastive", "proxy_nca"]', floors='["pixels"]')


@pytest.fixture
def results(tmp_path: Path, matrix: Path) -> Path:
    """Three seeds of everything."""
    for job in expand(load(matrix, seeds=3)):
        score = SCORES.get(job.objective.label, (0.3,) * 3)[job.seed]
        store.write(tmp_path / "runs", finished(job, recall_at_1=score))
    return tmp_path / "runs"


def test_stored_seeds_are_decided_at_once_and_the_board_says_so(matrix: Path, results: Path) -> None:
    result = call("run", matrix, "--results", results, "--until", "leaders", "--max-seeds", 3)
    assert result.exit_code == 0
    said = [line.partition("conv4(width=8): ")[2] for line in result.stderr.splitlines() if "conv4(width=8): " in line]
    assert said[0].startswith("proxy_nca drops out at 2 seeds: ")
    assert said[1] == "Still in at 2 seeds: triplet, contrastive."
    assert said[-1].startswith("Ended: ")
    assert not any("pixels" in line for line in said)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--until", "leadrs"], "--until: there is no rule 'leadrs'; did you mean 'leaders'?"),
        (["--until", "leaders", "--max-seeds", "1"], "--max-seeds 1: fewer than 2 seeds decide nothing"),
        (["--until", "leaders", "--max-seeds", "0"], "--max-seeds 0: fewer than 2 seeds decide nothing"),
        (["--until", "order", "--alpha", "0"], "--alpha 0: an error rate lies between 0 and 1"),
        (["--until", "order", "--alpha", "1"], "--alpha 1: an error rate lies between 0 and 1"),
        (["--until", "order", "--metric", "recal_at_1"], "there is no score 'recal_at_1'; did you mean 'recall_at_1'?"),
        (["--until", "order", "--metric", "recall_at_16"], "add 16 to recipe.recall_at"),
        (["--until", "leaders", "--seeds", "3"], "--seeds and --until exclude each other"),
        (["--max-seeds", "3"], "--max-seeds belongs to --until: add --until leaders, or leave it out"),
        (["--alpha", "0.1"], "--alpha belongs to --until"),
        (["--until", "leaders", "--set", 'losses=["triplet"]'], "so there is nothing to decide; add a loss"),
    ],
)
def test_wrong_requests_are_a_sentence(tmp_path: Path, matrix: Path, options: list[str], sentence: str) -> None:
    result = call("run", matrix, "--results", tmp_path / "none", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "none").exists()


def test_the_seeds_that_two_methods_need(matrix: Path, results: Path) -> None:
    result = call("plan", matrix, "--results", results, "--decide", "triplet", "contrastive")
    assert result.exit_code == 0
    place, verdict, needed = result.stdout.splitlines()
    assert place.endswith("conv4(width=8), recall_at_1")
    assert verdict.startswith("  triplet and contrastive cannot be told apart on these test classes: ")
    assert needed.startswith("  Seeds still needed: ")
    assert needed.endswith(" hours of one worker, by stored times.")


def test_the_seeds_as_json(matrix: Path, results: Path) -> None:
    said = call("plan", matrix, "--results", results, "--decide", "triplet", "contrastive", "--json").stdout
    (board,) = json.loads(said)
    assert (board["a"], board["b"], board["seeds"], board["decided"]) == ("triplet", "contrastive", [3, 3], False)
    assert board["needed"]["high"] == "more than 60"
    assert math.isclose(board["hours"]["low"], 2 * (board["needed"]["low"] - 3) * 1.5 / 3600)
    assert math.isclose(board["hours"]["high"], 2 * 57 * 1.5 / 3600)


def test_without_results_it_says_what_to_run_first(tmp_path: Path, matrix: Path) -> None:
    result = call("plan", matrix, "--results", tmp_path / "none", "--decide", "triplet", "contrastive")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.endswith(f"run two seeds first: bench run {matrix} --seeds 2\n")
    wrong = call("plan", matrix, "--results", tmp_path / "none", "--decide", "triplet", "triplet")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
