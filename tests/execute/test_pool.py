"""Workers, with real jobs. No clock decides: a test waits for an event, a line, or the end of a process."""

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from support.jobs import matrix_file, tiny

import bench
from bench import store
from bench.execute.event import ENDINGS
from bench.execute.pool import execute
from bench.matrix.job import ConfigError

BENCH = str(Path(sys.executable).with_name("bench"))
ENDLESS = 10**7
"""Epochs that no test waits for."""


def run(jobs, results, workers=1):
    """The events of these jobs, none of which waits for another."""
    queue = iter(jobs)
    return execute(lambda: next(queue, None), jobs, results=results, data=None, places=["cpu"] * workers)


def start(folder, matrix, *options, **popen):
    """`bench run` as a process of its own, whose stderr can be read line by line."""
    command = [BENCH, "run", str(matrix), "--results", str(folder), *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **popen)


def lines_until(process, word):
    """What it says up to the first line with this word; the whole, should it end before."""
    said = []
    for line in process.stderr:
        said.append(line)
        if word in line:
            break
    return "".join(said)


def workers_of(pid):
    children = psutil.Process(pid).children(recursive=True)
    return [child for child in children if any("bench.execute.worker" in word for word in child.cmdline())]


def outcomes(results):
    return {path.name for path in Path(results).glob("[!.]*")}


def scores(folder):
    rows = bench.load(folder).set_index("key").sort_index()
    return rows[[name for name in rows.columns if name.startswith(("recall", "map", "r_prec", "nmi", "ami"))]]


def test_one_worker_or_two_give_the_same_bits(tmp_path):
    jobs = tiny(seeds=2, losses=["triplet", "proxy_anchor"])
    for count in (1, 2):
        events = list(run(jobs, tmp_path / str(count), workers=count))
        assert [event.kind for event in events if event.kind in ENDINGS] == ["done"] * 4
        for job in jobs:
            told = [(event.kind, event.epochs) for event in events if event.job == job]
            assert told == [("started", 0), ("epoch", 1), ("epoch", 2), ("done", 2)]
    assert scores(tmp_path / "1").equals(scores(tmp_path / "2"))
    for job in jobs:
        files = [(tmp_path / count / job.key / "embeddings.npy").read_bytes() for count in "12"]
        assert files[0] == files[1]


def test_a_killed_worker_is_one_failed_row_and_the_others_go_on(tmp_path):
    endless, *others = tiny(losses=[{"name": "triplet", "recipe": {"epochs": ENDLESS}}, "contrastive", "proxy_nca"])
    ended = {}
    with closing(run([endless, *others], tmp_path)) as events:
        for event in events:
            if event.kind == "epoch" and event.job == endless and event.epochs == 1:
                (worker,) = workers_of(os.getpid())
                worker.kill()
            if event.kind in ENDINGS:
                ended[event.job.key] = event
    assert [ended[job.key].kind for job in (endless, *others)] == ["failed", "done", "done"]
    assert "was killed (SIGKILL)" in ended[endless.key].reason
    assert "the same command runs it again" in ended[endless.key].reason
    rows = bench.load(tmp_path).set_index("key")
    assert rows.loc[endless.key, "reason"] == ended[endless.key].reason


def test_closing_the_events_ends_the_workers_and_keeps_what_is_done(tmp_path):
    quick, endless = tiny(losses=["triplet", {"name": "contrastive", "recipe": {"epochs": ENDLESS}}])
    events = run([quick, endless], tmp_path, workers=2)
    while next(events).kind != "done":
        pass
    children = workers_of(os.getpid())
    assert len(children) == 2
    events.close()
    assert workers_of(os.getpid()) == []
    assert bench.load(tmp_path)["key"].tolist() == [quick.key]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interruption_stops_everything_cleanly(tmp_path, name):
    losses = f'["triplet", {{ name = "contrastive", recipe = {{ epochs = {ENDLESS} }} }}]'
    matrix, options = matrix_file(tmp_path, losses=losses), ("--workers", "2")
    with start(tmp_path / "runs", matrix, *options, start_new_session=True) as process:
        said = lines_until(process, "[1/2]")
        children = workers_of(process.pid)
        if name == "SIGINT":
            os.killpg(process.pid, signal.SIGINT)  # what a terminal does: to the workers too
        else:
            process.send_signal(signal.SIGTERM)
        said += process.stderr.read()
    assert process.returncode == 130
    assert "the same command continues" in said
    assert "Traceback" not in said
    assert len(children) == 2
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)


def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    losses = f'["triplet", {{ name = "contrastive", recipe = {{ epochs = {ENDLESS} }} }}]'
    with start(tmp_path / "runs", matrix_file(tmp_path, losses=losses), "--workers", "2") as process:
        lines_until(process, "[1/2]")
        children = workers_of(process.pid)
        process.kill()
    assert len(children) == 2
    _, alive = psutil.wait_procs(children)
    assert alive == []


def test_a_killed_run_continued_is_an_undisturbed_run(tmp_path):
    fused = '[{ name = "concatenate", members = ["triplet", "contrastive"] }]'
    matrix = matrix_file(tmp_path, seeds="2", model_ensembles=fused)
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    assert start(calm, matrix).communicate()[1].endswith("12 done\n")
    for line in ("[2/", "[3/"):
        with start(wild, matrix, start_new_session=True) as process:
            lines_until(process, line)
            os.killpg(process.pid, signal.SIGKILL)
    assert start(wild, matrix).communicate()[1].endswith("12 done\n")
    assert outcomes(calm) == outcomes(wild)
    assert scores(calm).equals(scores(wild))


def test_running_out_of_memory_is_a_failed_row_with_its_traceback(tmp_path):
    jobs = tiny(losses=["triplet", {"name": "proxy_nca", "recipe": {"dim": 10**9}}])
    events = [event for event in run(jobs, tmp_path) if event.kind in ENDINGS]
    assert [event.kind for event in events] == ["done", "failed"]
    assert "memory" in events[1].reason
    assert "Traceback" in (tmp_path / jobs[1].key / "error.txt").read_text()


def test_a_wrong_value_of_a_model_ensemble_is_a_failure_and_not_a_skip(tmp_path):
    wide = {"name": "pca", "members": ["triplet"], "dim": 17}
    jobs = tiny(model_ensembles=[wide])
    ended = [event for event in run(jobs, tmp_path) if event.kind in ENDINGS]
    assert [event.kind for event in ended] == ["done", "failed"]
    assert ended[1].reason == "ValueError: dim = 17 is more than the 16 dimensions of the members: lower it."
    assert "Traceback" in (tmp_path / jobs[1].key / "error.txt").read_text()


def test_wrong_values_are_refused_before_anything_trains(tmp_path):
    jobs = tiny(ensembles=[{"name": "sum", "members": ["triplet"], "weights": [1.0, 2.0]}])
    with pytest.raises(ConfigError, match="2 weights for 1 members"):
        list(run(jobs, tmp_path))
    assert not tmp_path.joinpath(jobs[0].key).exists()


def test_results_that_can_no_longer_be_written_end_the_run(tmp_path):
    (job,) = tiny()
    place = tmp_path / "a file"
    place.write_text("in the way")
    with pytest.raises(store.StoreError, match="name another folder with --results"):
        list(run([job], place))
    assert workers_of(os.getpid()) == []
