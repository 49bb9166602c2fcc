import os
import subprocess
import sys
from contextlib import closing

import psutil
import pytest
from support.jobs import BACKBONE, DATASET, RECIPE, matrix_file

import bench
from bench import store
from bench.execute import matrix_run
from bench.execute.event import ENDINGS, Event
from bench.matrix.file import Matrix, load
from bench.matrix.job import ConfigError
from bench.store import row_cache
from bench.store.row import Result, Row

MEMBERS = ["triplet", "contrastive"]
FUSED = '[{ name = "concatenate", members = ["triplet", "contrastive"] }]'


def instant(take, jobs, conditions):
    """Another executor: it trains nothing and stores a row for each job, those of longer training better."""
    while (job := take()) is not None:
        yield Event("started", job)
        scores = {"recall_at_1": 0.5 + job.recipe.epochs / 100}
        store.write(
            conditions.results, Result(Row.of(job, "done", scores=scores, embedding_dim=16 * max(1, len(job.members))))
        )
        yield Event("done", job)


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setitem(matrix_run.EXECUTORS, "local", instant)


@pytest.mark.usefixtures("at_once")
def test_every_job_is_told_of_once_and_a_second_run_has_nothing_to_do(tmp_path):
    matrix = matrix_file(tmp_path, model_ensembles=FUSED, seeds="2")
    events = list(bench.run(matrix, results=tmp_path / "runs", workers=1))
    kinds = ("planned", "started", "done")
    by_kind = {kind: [event.job.key for event in events if event.kind == kind] for kind in kinds}
    assert len(by_kind["planned"]) == len(set(by_kind["planned"])) == 12
    assert set(by_kind["planned"]) == set(by_kind["started"]) == set(by_kind["done"])
    again = list(bench.run(matrix, results=tmp_path / "runs", workers=1))
    assert {event.kind for event in again} == {"stored"}
    assert {event.job.key for event in again} == set(by_kind["done"])


@pytest.mark.usefixtures("at_once")
def test_a_matrix_is_a_name_a_path_or_a_value(tmp_path):
    file = matrix_file(tmp_path)
    value = Matrix.model_validate({"datasets": [DATASET], "backbones": [BACKBONE], "losses": MEMBERS, "recipe": RECIPE})
    assert load(file) == value
    for matrix in (file, str(file), value):
        events = list(bench.run(matrix, results=tmp_path / "runs", seeds=2, changes=["recipe.epochs=3"]))
        assert {(event.job.seed, event.job.recipe.epochs) for event in events} == {(0, 3), (1, 3)}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"executor": "locl"}, "there is no executor 'locl'; did you mean 'local'"),
        ({"device": "gpu"}, "choose auto, cpu or cuda"),
        ({"changes": ["recipe.epoch=3"]}, "recipe.epoch: unknown; did you mean 'epochs'"),
        ({"changes": ["recipe.classes_per_batch=13"]}, "13 classes"),
        ({"results": "/dev/null/runs"}, "name another folder with --results"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_stored(tmp_path, options, sentence):
    results = tmp_path / "runs"
    with pytest.raises((ConfigError, store.StoreError), match=sentence):
        next(bench.run(matrix_file(tmp_path), **{"results": results, **options}))
    assert not results.exists()


@pytest.mark.usefixtures("at_once")
def test_a_row_that_cannot_be_read_is_set_aside_with_a_warning(tmp_path):
    matrix, results = matrix_file(tmp_path), tmp_path / "runs"
    list(bench.run(matrix, results=results))
    broken = next(results.glob("*/row.parquet"))
    broken.write_bytes(b"")
    with pytest.warns(UserWarning, match=f"{broken}: is empty; its folder is set aside"):
        events = list(bench.run(matrix, results=results))
    assert [event.job.key for event in events if event.kind in ENDINGS] == [broken.parent.name]


@pytest.mark.usefixtures("at_once")
def test_rows_are_kept_while_the_run_goes_on(tmp_path, monkeypatch):
    """Whoever reads the folder after a kill need not read all rows anew."""
    monkeypatch.setattr(matrix_run, "KEEP_EVERY", 1)
    monkeypatch.setattr(row_cache, "MANY", 1)
    monkeypatch.setattr(row_cache, "SETTLED", 0.0)
    results = tmp_path / "runs"
    with closing(bench.run(matrix_file(tmp_path, losses='["triplet", "contrastive"]'), results=results)) as events:
        there = [(event.kind, (results / row_cache.KEPT).exists()) for event in events]
    assert [kept for kind, kept in there if kind == "done"] == [False, True]


def test_an_exception_in_the_callers_loop_ends_the_workers(tmp_path):
    def loop():
        with closing(bench.run(matrix_file(tmp_path), results=tmp_path / "runs", workers=2)) as events:
            for event in events:
                if event.kind == "started":
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop()
    assert [child for child in psutil.Process(os.getpid()).children() if "bench" in str(child.cmdline())] == []


def test_a_run_that_trains_imports_no_torch_in_its_own_process(tmp_path):
    code = (
        "import sys, bench; list(bench.run(sys.argv[1], results=sys.argv[2], workers=1)); print('torch' in sys.modules)"
    )
    matrix = matrix_file(tmp_path, losses='["triplet"]')
    command = [sys.executable, "-c", code, matrix, tmp_path / "runs"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
