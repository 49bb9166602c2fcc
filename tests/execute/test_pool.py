import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support.jobs import matrix_file, tiny

import bench
from bench import store
from bench.execute import pool
from bench.matrix.job import ConfigError

BENCH = [str(Path(sys.executable).with_name("bench"))]
SLOW = {"losses": '["triplet", "contrastive", "proxy_nca"]', "seeds": "2"}


def start(folder, matrix, *options, **popen):
    command = [*BENCH, "run", str(matrix), "--results", str(folder), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **popen)


def complete(folder, matrix, *options):
    process = start(folder, matrix, *options)
    process.communicate(timeout=120)
    return process.returncode


def workers(process):
    """Worker processes, without multiprocessing's resource tracker."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def finished(folder):
    return (
        {path.name for path in Path(folder).glob("*") if not path.name.startswith(".")}
        if Path(folder).exists()
        else set()
    )


def scores(folder):
    rows = bench.load(folder).set_index("key").sort_index()
    return rows[[name for name in rows.columns if name.startswith(("recall", "map", "r_prec", "nmi", "ami"))]]


def test_one_worker_or_two_give_the_same_bits(tmp_path):
    jobs = tiny(seeds=2, losses=["triplet", "proxy_anchor"])
    for count in (1, 2):
        events = list(pool.execute(jobs, tmp_path / str(count), data=None, workers=["cpu"] * count))
        assert [event.status for event in events if event.status] == ["done"] * 4
        assert {event.job.key for event in events} == {job.key for job in jobs}
    assert scores(tmp_path / "1").equals(scores(tmp_path / "2"))
    for job in jobs:
        files = [(tmp_path / count / job.key / "embeddings.npy").read_bytes() for count in "12"]
        assert files[0] == files[1]


def test_a_killed_worker_is_one_failed_row_and_the_others_go_on(tmp_path):
    matrix = matrix_file(tmp_path, **SLOW)
    results = tmp_path / "runs"
    process = start(results, matrix, "--workers", "2", "--set", "recipe.epochs=40")
    wait_for(lambda: finished(results))
    victim = workers(process)[0]
    victim.kill()
    _output, talk = process.communicate(timeout=120)
    rows = bench.load(results)
    assert process.returncode == 1, talk
    assert sorted(rows["status"]) == ["done"] * 5 + ["failed"]
    (reason,) = rows["reason"].dropna()
    assert "was killed (SIGKILL)" in reason
    assert reason in talk
    assert complete(results, matrix, "--set", "recipe.epochs=40") == 0
    assert bench.load(results)["status"].tolist() == ["done"] * 6


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 130)])
def test_an_interruption_stops_everything_cleanly(tmp_path, name, code):
    matrix = matrix_file(tmp_path, **SLOW)
    process = start(tmp_path / "runs", matrix, "--set", "recipe.epochs=400", start_new_session=True)
    wait_for(lambda: len(workers(process)) == 2)
    children = workers(process)
    time.sleep(1)
    if name == "SIGINT":
        os.killpg(process.pid, signal.SIGINT)  # what a terminal does: to the workers too
    else:
        process.send_signal(signal.SIGTERM)
    _output, talk = process.communicate(timeout=30)
    assert process.returncode == code
    assert "the same command continues" in talk
    assert "Traceback" not in talk
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)


def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    process = start(tmp_path / "runs", matrix_file(tmp_path, **SLOW), "--set", "recipe.epochs=4000")
    wait_for(lambda: len(workers(process)) == 2)
    children = workers(process)
    time.sleep(1)
    process.kill()
    process.communicate()
    psutil.wait_procs(children, timeout=10)
    assert not any(child.is_running() for child in children)


def test_a_killed_run_continued_is_an_undisturbed_run(tmp_path):
    matrix = matrix_file(
        tmp_path, **SLOW, model_ensembles='[{ name = "concatenate", members = ["triplet", "contrastive"] }]'
    )
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    assert complete(calm, matrix) == 0
    for moment in (2, 5):
        process = start(wild, matrix, start_new_session=True)
        wait_for(lambda process=process, moment=moment: len(finished(wild)) >= moment or process.poll() is not None)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert complete(wild, matrix) == 0
    assert finished(calm) == finished(wild)
    assert scores(calm).equals(scores(wild))


def test_running_out_of_memory_is_a_failed_row(tmp_path):
    jobs = tiny(losses=["triplet", {"name": "proxy_nca", "recipe": {"dim": 10**9}}])
    events = [event for event in pool.execute(jobs, tmp_path, data=None, workers=["cpu"]) if event.status]
    assert [event.status for event in events] == ["done", "failed"]
    assert "memory" in events[1].reason
    assert "Traceback" in (tmp_path / jobs[1].key / "error.txt").read_text()


def test_wrong_values_are_refused_before_anything_trains(tmp_path):
    jobs = tiny(ensembles=[{"name": "sum", "members": ["triplet"], "weights": [1.0, 2.0]}])
    with pytest.raises(ConfigError, match="2 weights for 1 members"):
        list(pool.execute(jobs, tmp_path, data=None, workers=["cpu"]))
    assert store.statuses(bench.load(tmp_path)) == {}


def test_devices_are_what_there_is():
    import torch

    assert pool.devices("cpu") == ["cpu"]
    expected = [f"cuda:{index}" for index in range(torch.cuda.device_count())] or ["cpu"]
    assert pool.devices("auto") == expected
    with pytest.raises(ConfigError, match="choose auto, cpu or cuda"):
        pool.devices("gpu")
    if expected == ["cpu"]:
        with pytest.raises(ConfigError, match="use --device cpu"):
            pool.devices("cuda")
