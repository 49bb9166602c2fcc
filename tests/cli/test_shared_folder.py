"""Exit codes and sentences of runs that end early, or take a share."""

import shutil

import pytest
from support.instant import instant
from support.without_torch import LOSSES, written
from typer.testing import CliRunner

import bench
from bench.cli.app import app
from bench.execute import matrix_run


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setitem(matrix_run.EXECUTORS, "local", instant)


def run(matrix, *options):
    return CliRunner().invoke(app, ["run", str(matrix), "--results", str(matrix.parent / "runs"), *options])


@pytest.mark.parametrize("options", [["--fail-fast"], ["--max-failures", "1"]])
def test_a_run_that_stops_at_a_failure_says_so_and_ends_with_1(tmp_path, options):
    matrix = written(tmp_path, losses=["triplet", {"name": "contrastive", "recipe": {"epochs": 0}}, "proxy_nca"])
    done = run(matrix, *options)
    assert (done.exit_code, done.stderr.count("1 job failed, as many as were allowed: no more are started")) == (1, 1)
    assert "1 done, 1 failed, 1 new" in done.stderr
    assert run(matrix, "--retry", "none").exit_code == 1  # one failed before
    assert sorted(bench.load(tmp_path / "runs")["status"]) == ["done", "done", "failed"]


def test_shards_end_well_each_and_are_all_together(tmp_path):
    matrix = written(tmp_path, losses=LOSSES)
    for shard, rows in {"1/3": 1, "2/3": 2, "3/3": 2}.items():
        done = run(matrix, "--shard", shard)
        assert (done.exit_code, len(bench.load(tmp_path / "runs"))) == (0, rows), done.stderr
    assert "no cell of this matrix is to be run here" in done.stderr


def test_a_folder_that_vanishes_is_one_sentence_and_the_code_of_a_wrong_request(tmp_path, monkeypatch):
    def vanishing(take, jobs, conditions):
        for event in instant(take, jobs, conditions):
            yield event
            shutil.rmtree(conditions.results)

    monkeypatch.setitem(matrix_run.EXECUTORS, "local", vanishing)
    done = run(written(tmp_path, losses=LOSSES))
    assert (done.exit_code, done.stderr.count("the folder was removed or replaced while the run went on")) == (2, 1)
    assert "Traceback" not in done.stderr
