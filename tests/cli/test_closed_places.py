"""Every command where a folder may not be opened, or a file is in its place: one sentence, exit code 2."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.jobs import matrix_file, tiny
from support.stored import finished
from support.unprivileged import Ended, called
from typer.testing import CliRunner

from bench import store
from bench.cli.app import app


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A path below a folder that may not be entered, where results, a matrix and embeddings are."""
    place = tmp_path / "closed" / "below"
    for job in tiny(losses=["triplet", "contrastive"], seeds=2):
        store.write(place, finished(job))
    matrix_file(place)
    np.save(place / "e.npy", np.eye(4))
    (place / "labels.csv").write_text("label\na\na\nb\nb\n")
    place.parent.chmod(0)
    yield place
    place.parent.chmod(0o755)


def calls(tmp_path: Path, closed: Path) -> list[list[object]]:
    """Each option and argument that is a path, led below the closed folder."""
    matrix, embeddings = matrix_file(tmp_path), tmp_path / "mine.npz"
    np.savez(embeddings, embeddings=np.eye(4), labels=[0, 0, 1, 1])
    stored = ["--results", closed]
    own = "[{{name='{}', path='{}'}}]"
    return [
        ["plan", matrix, *stored],
        ["plan", matrix, "--results", closed / "new"],
        ["run", matrix, *stored],
        ["report", *stored],
        ["report", "--matrix", matrix, *stored],
        ["complement", matrix, *stored],
        ["compare", "--all", *stored],
        ["compare", "triplet", "contrastive", "--matrix", matrix, *stored],
        ["pack", tmp_path / "packed.parquet", *stored],
        ["plan", closed / "tiny.toml"],
        ["run", closed / "tiny.toml"],
        ["evaluate", closed / "e.npy", closed / "labels.csv"],
        ["evaluate", closed],
        ["evaluate", embeddings, closed / "labels.csv"],
        ["evaluate", embeddings, "--gallery", closed / "e.npy"],
        ["evaluate", embeddings, "--gallery", embeddings, "--gallery-labels", closed / "labels.csv"],
        ["data", "list", "--data", closed],
        ["data", "verify", "cub200", "--data", closed],
        ["data", "prepare", "omniglot", "--data", closed],
        *(["plan", matrix, "--data", closed, "--set", f"datasets=['{name}']"] for name in ("sop", "cars196", "inshop")),
        ["plan", matrix, "--set", f"datasets={own.format('folder', closed)}"],
        ["plan", matrix, "--set", f"datasets={own.format('manifest', closed / 'my.csv')}"],
        ["data", "verify", "folder", "--set", f"path={closed}"],
        ["plan", matrix, "--set", f"backbones=[{{name='conv4', weights='{closed / 'e.npy'}'}}]"],
    ]


def assert_refused(ended: Ended, place: Path) -> None:
    said = ended.stderr.splitlines()
    assert (ended.code, len(said)) == (2, 1), ended
    assert said[0].startswith("bench: ")
    assert str(place) in said[0]
    assert "(Permission denied)" in said[0]


def test_what_lies_below_a_closed_folder_is_a_sentence_for_every_command(tmp_path: Path, closed: Path) -> None:
    for ended in called(calls(tmp_path, closed)):
        assert_refused(ended, closed)


def test_output_and_cache_below_a_closed_folder_are_a_sentence(tmp_path: Path, closed: Path) -> None:
    runs, matrix = tmp_path / "runs", matrix_file(tmp_path)
    for job in tiny(losses=["triplet", "contrastive"]):
        store.write(runs, finished(job))
    asked = [
        ["report", "--results", runs, "--output", closed / "page"],
        ["pack", closed / "packed.parquet", "--results", runs],
    ]
    for ended in called(asked):
        assert_refused(ended, closed)
    for ended in called([["plan", matrix], ["data", "list"]], BENCH_CACHE=str(closed)):
        assert_refused(ended, closed)


def test_a_plan_says_that_results_cannot_be_written(tmp_path: Path) -> None:
    """The cells are told all the same: what is done can be read."""
    runs, matrix = tmp_path / "runs", matrix_file(tmp_path)
    for job in tiny(losses=["triplet", "contrastive"]):
        store.write(runs, finished(job))
    runs.chmod(0o555)
    (first, again) = called([["plan", matrix, "--results", runs], ["plan", matrix, "--results", runs, "--json"]])
    for ended in (first, again):
        assert ended.code == 2
        assert ended.stderr.startswith(f"bench: {runs}: cannot be written ({runs} is not yours to write); name another")


@pytest.mark.parametrize("verb", ["plan", "run"])
def test_a_file_where_results_should_be_is_refused_by_plan_as_by_run(tmp_path: Path, verb: str) -> None:
    matrix = matrix_file(tmp_path)
    for place in (matrix, matrix / "runs"):
        done = CliRunner().invoke(app, [verb, str(matrix), "--results", str(place)], catch_exceptions=False)
        (said,) = done.stderr.splitlines()
        assert (done.exit_code, str(place) in said, "--results" in said or "bench pack" in said) == (2, True, True)


def test_a_plan_makes_no_folder(tmp_path: Path) -> None:
    place = tmp_path / "new" / "runs"
    done = CliRunner().invoke(app, ["plan", str(matrix_file(tmp_path)), "--results", str(place)])
    assert done.exit_code == 0
    assert not place.parent.exists()
    assert done.stdout.splitlines()[-1].startswith("not tried here: building each backbone and objective")
