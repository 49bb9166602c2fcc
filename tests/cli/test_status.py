"""What `bench status` says of rows and leases, without a run."""

import json
import re
import subprocess
import sys
import threading

import pytest
from support.without_torch import LOSSES, written
from typer.testing import CliRunner

from bench import store
from bench.cli import status
from bench.cli.app import app
from bench.matrix.expand import expand
from bench.matrix.file import load
from bench.store.leases import Leases
from bench.store.row import Result, Row, failure


@pytest.fixture
def folder(tmp_path):
    """Of four jobs one is done in 100 seconds, one failed, one is half done; the matrix is beside the results."""
    jobs = expand(load(written(tmp_path, losses=[*LOSSES, "proxy_nca", "proxy_anchor"])))
    results = tmp_path / "runs"
    store.write(results, Result(Row.of(jobs[0], "done", scores={"recall_at_1": 0.5}, seconds=100.0)))
    store.write(results, failure(jobs[1], "failed", "out of memory"))
    leases = Leases(results)
    leases.claim(jobs[2].key, of=2)
    leases.progress(jobs[2].key, 1)
    leases._renew(jobs[2].key)
    yield tmp_path, jobs, leases
    leases.close()


def said(folder, *options):
    done = CliRunner().invoke(app, ["status", str(folder / "tiny.toml"), "--results", str(folder / "runs"), *options])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_what_runs_where_and_what_failed_and_why(folder):
    place, _, leases = folder
    first, running, failed, left = said(place).splitlines()
    assert first == "1 done, 1 failed, 1 new, 1 running"
    (lease,) = leases.held.values()
    assert running.startswith("running  glyphs")
    assert re.search(rf"proxy_nca seed 0: epoch 1 of 2, for \d+ s on {re.escape(lease.said())}$", running)
    assert failed.endswith("contrastive seed 0: out of memory")
    assert left == "time left: about 2 min with one job at a time"


def test_json_says_the_same(folder):
    place, jobs, _ = folder
    found = json.loads(said(place, "--json"))
    assert found["counts"] == {"done": 1, "failed": 1, "running": 1, "new": 1}
    assert [cell["status"] for cell in found["cells"]] == ["done", "failed", "running", "new"]
    assert found["cells"][1] == {"key": jobs[1].key, "status": "failed", "reason": "out of memory"}
    (running,) = found["running"]
    assert (running["key"], running["epochs"], running["of"]) == (jobs[2].key, 1, 2)
    assert found["seconds_left"] == 100 + 100 / 2


def test_a_lease_of_an_ended_process_is_no_running_job(folder):
    place, _, _ = folder
    file = next((place / "runs").glob(".lossbench-lease-*"))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pid": 2**22 + 1}))
    assert said(place).splitlines()[0] == "1 done, 1 failed, 2 new"
    assert said(place).splitlines()[-1] == "time left: about 3 min with one job at a time; nothing runs now"


def test_watching_ends_when_nothing_runs(folder, monkeypatch):
    place, _, leases = folder
    monkeypatch.setattr(status, "PAUSE", 0.01)
    ending = threading.Timer(0.5, leases.close)
    ending.start()
    lines = said(place, "--watch").splitlines()
    ending.join()
    assert "1 done, 1 failed, 2 new" in lines


def test_a_folder_that_is_not_there_yet_has_nothing(tmp_path):
    written(tmp_path, losses=LOSSES)
    assert said(tmp_path).splitlines()[0] == "2 new"
    assert list(tmp_path.iterdir()) == [tmp_path / "tiny.toml"]


def test_status_waits_for_neither_torch_nor_the_data(tmp_path):
    matrix = written(tmp_path, losses=LOSSES, fused=True)
    code = (
        "import sys; from bench.cli.app import app; app(sys.argv[1:], standalone_mode=False); "
        "print({'torch', 'timm', 'faiss', 'bench.datasets.glyphs'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, "status", matrix, "--results", tmp_path / "runs"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1] == "set()"


def test_the_log_of_a_job_is_all_that_is_known_of_it(folder):
    place, jobs, _ = folder
    done, failed, running, new = (said(place, "--log", job.key) for job in jobs)
    assert done.splitlines()[1] == f"key {jobs[0].key}"
    assert "took 100.0 s" in done
    assert "recall_at_1 0.5000" in done
    assert "contrastive seed 0: failed" in failed
    assert "why: out of memory" in failed
    assert running.splitlines()[-1].startswith("running: epoch 1 of 2, for ")
    assert new.splitlines() == [f"{new.splitlines()[0]}", f"key {jobs[3].key}"]
    assert new.splitlines()[0].endswith("proxy_anchor seed 0: new")
    assert said(place, "--log", jobs[1].key[-6:]) == failed


def test_the_log_has_epochs_and_the_traceback(tmp_path):
    (job,) = expand(load(written(tmp_path, losses=["triplet"])))
    results = tmp_path / "runs"
    history = tuple({"model": 0, "epoch": n, "loss": 0.5 / n, "rate": 0.1, "seconds": 1.0} for n in (1, 2))
    row = Row.of(job, "failed", reason="ValueError: no", seconds=2.0)
    store.write(results, Result(row, history=history, traceback="Traceback\n  here\nValueError: no \N{SNOWMAN}\n"))
    lines = said(tmp_path, "--log", "triplet").splitlines()
    assert [line.split() for line in lines if line.strip()[:1].isdigit()] == [
        ["0", "1", "0.5", "0.1", "1"], ["0", "2", "0.25", "0.1", "1"],
    ]  # fmt: skip
    assert lines[-3:] == ["Traceback", "  here", "ValueError: no \N{SNOWMAN}"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--log", "nothing"], "no job of this matrix has such a key; bench status --json lists the keys"),
        (["--log", ""], "no job of this matrix has such a key"),
        (["--log", "glyphs"], "say which: glyphs-"),
        (["--log", "glyphs", "--json"], "--log and --json exclude each other"),
        (["--log", "glyphs", "--watch"], "--watch and --log exclude each other"),
        (["--watch", "--json"], "--watch and --json exclude each other"),
    ],
)
def test_a_log_that_cannot_be_shown_is_one_sentence(folder, options, sentence):
    place, _, _ = folder
    done = CliRunner().invoke(app, ["status", str(place / "tiny.toml"), "--results", str(place / "runs"), *options])
    assert done.exit_code == 2
    assert sentence in done.output
    assert "Traceback" not in done.output
