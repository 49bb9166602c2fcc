"""Workers, with real jobs. No clock decides: a test waits for an event, a line, or the end of a process."""

import os
import signal
import subprocess
import sys
from contextlib import closing
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from support.jobs import matrix_file, tiny
from support.terminal import BENCH, alive, surroundings

import bench
from bench import store
from bench.datasets.split import OtherDataError
from bench.execute import pool
from bench.execute.conditions import Conditions
from bench.execute.event import ENDINGS
from bench.execute.pool import execute, refuse
from bench.execute.stop import Stop, Stopped
from bench.execute.worker import Outlook
from bench.matrix.job import ConfigError

ENDLESS = 10**7
"""Epochs that no test waits for."""


def run(jobs, results, workers=1, **options):
    """The events of these jobs, none of which waits for another."""
    queue = iter(jobs)
    return execute(lambda: next(queue, None), jobs, Conditions(results, None, ["cpu"] * workers, **options))


def start(folder, matrix, *options, **popen):
    """`bench run` as a process of its own, whose stderr can be read line by line."""
    command = [*BENCH, "run", str(matrix), "--results", str(folder), *options]
    piped = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "env": surroundings()}
    return subprocess.Popen(command, **piped, **popen)


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


def test_no_job_runs_on_other_data_than_the_run_has_seen(tmp_path):
    jobs = tiny()
    with pytest.raises(
        OtherDataError, match=r"the data on .+ is not what this command began with \(SHA-256 .+, not 00"
    ):
        list(run(jobs, tmp_path, shas={jobs[0].dataset.label: "0" * 64}))
    assert bench.load(tmp_path).empty


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
    assert "stopping after the current step, to write checkpoints; once more (Ctrl-C) stops at once\n" in said
    assert said.endswith("bench: interrupted; the same command continues\n")
    assert "Traceback" not in said
    assert len(children) == 2
    assert alive(children) == []
    assert len(outcomes(tmp_path / "runs")) == 1  # the job that was under way has no row


def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    losses = f'["triplet", {{ name = "contrastive", recipe = {{ epochs = {ENDLESS} }} }}]'
    with start(tmp_path / "runs", matrix_file(tmp_path, losses=losses), "--workers", "2") as process:
        lines_until(process, "[1/2]")
        children = workers_of(process.pid)
        process.kill()
    assert len(children) == 2
    assert psutil.wait_procs(children)[1] == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it ends with its call")
def test_a_worker_deep_in_a_call_does_not_outlive_a_killed_parent(monkeypatch):
    """Nor one that imports: neither looks at its socket. That of the call holds Python's lock, so no thread can."""
    code = """
import os, signal
from pathlib import Path
from bench.execute import pool
from bench.execute.worker import Setup
pool.WORKER = "print('deep', flush=True); sum(range(10**12))"
worker = pool.Worker(Setup("cpu", 1, Path(), None))
worker.start()
print(worker.process.pid, flush=True)
worker.process.wait()
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=surroundings()) as parent:
        lines = sorted(parent.stdout.readline().strip() for _ in range(2))
        assert lines[1] == "deep"
        worker = psutil.Process(int(lines[0]))
        parent.kill()
    assert psutil.wait_procs([worker], timeout=60)[1] == []


def test_a_stop_is_told_and_waited_for_but_not_for_ever(tmp_path, monkeypatch):
    """A worker that hears nothing is killed; its job has no row, and runs again."""
    monkeypatch.setattr(pool, "PATIENCE", 0.2)
    deaf = "import signal; signal.signal(15, signal.SIG_IGN); signal.signal = lambda *_: None; "
    monkeypatch.setattr(pool, "WORKER", deaf + pool.WORKER)
    endless, later = tiny(losses=[{"name": "triplet", "recipe": {"epochs": ENDLESS}}, "contrastive"])
    stop, kinds = Stop(), []

    def follow(events):
        for event in events:
            if event.kind == "epoch":
                stop.ask()
            else:
                kinds.append((event.kind, event.job.key))

    with pytest.raises(Stopped):
        follow(run([endless, later], tmp_path, stop=stop))
    assert kinds == [(kind, endless.key) for kind in ("started", "stopping", "stopped")]
    assert workers_of(os.getpid()) == []
    assert outcomes(tmp_path) == set()


def test_a_stop_before_anything_trains_ends_at_once(tmp_path):
    stop = Stop()
    stop.ask()
    with pytest.raises(Stopped):
        list(run(tiny(), tmp_path, stop=stop))
    assert workers_of(os.getpid()) == []
    assert not stop.heard


def test_a_worker_that_dies_before_it_began_is_told_as_that(tmp_path, monkeypatch):
    """As one does that runs out of memory while it imports: whatever its exit code says."""
    monkeypatch.setattr(pool, "WORKER", "pass")
    (job,) = tiny()
    ended = list(run([job], tmp_path))[-1]
    assert ended.kind == "failed"
    assert "ended with exit code 0 before it began, as it does when memory runs out while it starts" in ended.reason
    assert "the same command runs it again" in ended.reason


def test_a_killed_run_continued_is_an_undisturbed_run(tmp_path):
    fused = '[{ name = "concatenate", members = ["triplet", "contrastive"] }]'
    matrix = matrix_file(tmp_path, seeds="2", model_ensembles=fused, controls="false")
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    assert [event.kind for event in bench.run(matrix, results=calm, workers=1)].count("done") == 6
    for line in ("[2/", "[3/"):
        with start(wild, matrix, start_new_session=True) as process:
            lines_until(process, line)
            os.killpg(process.pid, signal.SIGKILL)
    assert start(wild, matrix).communicate()[1].endswith("6 done\n")
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


def test_what_a_worker_doubts_is_handed_on_and_what_it_refuses_ends_the_run():
    ours, theirs = Pipe()
    with ours, theirs:
        worker = SimpleNamespace(socket=ours, began=False)
        theirs.send(Outlook([], ["conv4 on letters: too little memory"]))
        assert refuse(worker, [], Stop()) == ["conv4 on letters: too little memory"]
        theirs.send(Outlook(["one", "two"], []))
        with pytest.raises(ConfigError, match="one\ntwo"):
            refuse(worker, [], Stop())
