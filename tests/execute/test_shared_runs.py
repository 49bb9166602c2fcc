"""Several runs of one folder, seen event by event in one process, and once as real processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing

import pytest
from support.instant import instant, put
from support.without_torch import LOSSES, written
from typer.testing import CliRunner

import bench
from bench import store
from bench.cli.app import app
from bench.execute import matrix_run, shared_runs
from bench.execute.event import ENDINGS
from bench.matrix.job import ConfigError
from bench.store import leases
from bench.store.job_folders import StoreError
from bench.store.leases import LEASE
from bench.store.row import failure

SCRIPT = """
import os, signal, sys
import bench
from bench.execute import shared_runs
shared_runs.POLL = 0.2
for event in bench.run(sys.argv[1], results=sys.argv[2], workers=1):
    if event.kind in ("started", "done", "failed", "skipped"):
        print(event.kind, event.job.key, flush=True)
    if event.kind == "started" and sys.argv[3] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setitem(matrix_run.EXECUTORS, "local", instant)
    monkeypatch.setattr(shared_runs, "POLL", 0.001)


@pytest.fixture
def results(tmp_path):
    return tmp_path / "runs"


def until(events, kind):
    """The first event of this kind, and all up to it."""
    seen = []
    for event in events:
        seen.append(event)
        if event.kind == kind:
            break
    return event, seen


def keys(events, *kinds):
    return [event.job.key for event in events if event.kind in kinds]


def test_every_job_is_run_once_by_two_and_both_see_all_of_it_end(tmp_path, results):
    """The one holds its first job all the while; it is what the other waits for in the end."""
    matrix = written(tmp_path, losses=LOSSES, fused=True, seeds=2)
    with closing(bench.run(matrix, results=results)) as one, closing(bench.run(matrix, results=results)) as other:
        held, first = until(one, "started")
        told, second = until(other, "elsewhere")
        assert (told.job.key, f"process {os.getpid()}" in told.reason) == (held.job.key, True)
        while (event := next(other)).kind != "elsewhere":
            second.append(event)
        assert event.job.key == held.job.key
        first += list(one)
        second += list(other)
    assert sorted(keys([*first, *second], "started")) == sorted(bench.load(results)["key"])
    for events in (first, second):
        assert sorted(keys(events, *ENDINGS)) == sorted(keys(events, "planned"))
    assert set(keys(first, "planned")) == set(keys(second, "planned"))
    assert len(bench.load(results)) == 12
    assert list(results.glob(f"{LEASE}*")) == []


def test_a_job_that_another_run_failed_meanwhile_is_not_tried_again_by_this_one(tmp_path, results):
    matrix = written(tmp_path, losses=[{"name": "triplet", "recipe": {"epochs": 0}}, "contrastive"])
    with closing(bench.run(matrix, results=results)) as late:
        planned = [next(late), next(late)]
        assert keys(list(bench.run(matrix, results=results)), "started") == keys(planned, "planned")
        events = list(late)
    assert [event.kind for event in events] == ["failed", "done"]
    assert events[0].reason == "no epochs"
    assert keys(list(bench.run(matrix, results=results)), "started") == [events[0].job.key]


def test_closing_a_run_gives_its_jobs_back(tmp_path, results):
    matrix = written(tmp_path, losses=LOSSES)
    with closing(bench.run(matrix, results=results)) as events:
        until(events, "started")
        assert len(list(results.glob(f"{LEASE}*"))) == 1
    assert list(results.glob(f"{LEASE}*")) == []
    assert len(keys(list(bench.run(matrix, results=results)), "started")) == 2


def test_what_a_run_on_another_machine_left_behind_is_taken_over(tmp_path, results, monkeypatch):
    matrix = written(tmp_path, losses=LOSSES)
    with closing(bench.run(matrix, results=results)) as events:
        held, _ = until(events, "started")
        file = results / f"{LEASE}{held.job.key}"
        left = json.loads(file.read_text()) | {"host": "tower", "place": "01234567"}
    file.write_text(json.dumps(left))
    with closing(bench.run(matrix, results=results)) as events:
        told, seen = until(events, "elsewhere")
        assert told.reason.startswith("tower, process")
        monkeypatch.setattr(leases, "STALE", 0)
        seen += list(events)
    assert sorted(keys(seen, "started")) == sorted(keys(seen, "done")) == sorted(keys(seen, "planned"))
    assert list(results.glob(f"{LEASE}*")) == []


def test_a_folder_that_vanishes_ends_the_run_with_a_sentence(tmp_path, results):
    events = bench.run(written(tmp_path, losses=LOSSES), results=results)
    until(events, "started")
    shutil.rmtree(results)
    with pytest.raises(StoreError, match="removed or replaced while the run went on"):
        list(events)


def test_embeddings_that_are_gone_are_made_again_for_a_model_ensemble_without_a_result(tmp_path, results):
    matrix = written(tmp_path, losses=LOSSES, fused=True)
    list(bench.run(matrix, results=results))
    fused = next(key for key in bench.load(results)["key"] if "-concatenate-" in key)
    member = next(results.glob("*-triplet-*"))
    (member / "embeddings.npy").unlink()
    assert keys(list(bench.run(matrix, results=results)), "started") == []  # nobody needs them
    shutil.rmtree(results / fused)
    told = CliRunner().invoke(app, ["plan", str(matrix), "--results", str(results)]).stdout
    assert "triplet seed 0: will be trained again, for its embeddings are gone\n" in told
    assert "to run: 2\n" in told
    with pytest.warns(UserWarning, match=f"{member.name}: a finished job has no embeddings any more"):
        events = list(bench.run(matrix, results=results))
    assert keys(events, "started") == [member.name, fused]
    assert (member / "embeddings.npy").exists()


@pytest.mark.parametrize(
    ("retry", "run"),
    [(None, ["failed", "skipped", "new"]), ("failed", ["failed"]), ("skipped", ["skipped"]), ("none", ["new"])],
)
def test_what_is_tried_again_can_be_chosen(tmp_path, results, retry, run):
    matrix = written(tmp_path, losses=[*LOSSES, "proxy_nca", "proxy_anchor"])
    names = dict(zip(["done", "failed", "skipped", "new"], [*LOSSES, "proxy_nca", "proxy_anchor"], strict=True))
    jobs = {event.job.objective.name: event.job for event in bench.run(matrix, results=tmp_path / "others")}
    results.mkdir()
    put(jobs[names["done"]], results)
    for status in ("failed", "skipped"):
        store.write(results, failure(jobs[names[status]], status, "before"))
    events = list(bench.run(matrix, results=results, retry=retry))
    assert keys(events, "started") == [jobs[names[status]].key for status in names if status in run]
    told_of = {"done", "failed", "skipped"} | set(run)
    assert set(keys(events, "stored", "planned")) == {jobs[names[status]].key for status in told_of}


def test_no_more_jobs_are_started_after_so_many_failures(tmp_path, results):
    bad = [{"name": name, "recipe": {"epochs": 0}} for name in LOSSES]
    with pytest.warns(UserWarning, match="2 jobs failed, as many as were allowed"):
        events = list(bench.run(written(tmp_path, losses=[*bad, "proxy_nca"]), results=results, max_failures=2))
    assert [event.kind for event in events if event.kind in ENDINGS] == ["failed", "failed"]


def test_shards_are_the_matrix_together_and_the_last_one_runs_what_is_made_of_all(tmp_path, results):
    matrix = written(tmp_path, losses=[*LOSSES, "proxy_nca"], fused=True, seeds=3)
    whole = list(bench.run(matrix, results=tmp_path / "whole"))
    with closing(bench.run(matrix, results=results, shard="1/3")) as last:
        _, first = until(last, "started")
        with pytest.warns(UserWarning, match="wait for cells of other shards"):
            runs = [list(bench.run(matrix, results=results, shard=f"{number}/3")) for number in (2, 3)]
        runs.append([*first, *last])
    trained = [keys(events, "started") for events in runs]
    assert sorted(key for some in trained for key in some) == sorted(keys(whole, "started"))
    made = {event.job.key for event in whole if event.job.members or event.job.control}
    assert made.intersection(trained[2])
    for events in runs:
        assert set(keys(events, "planned")) == set(keys(events, *ENDINGS))
    assert store.statuses(bench.load(results)) == store.statuses(bench.load(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"shard": "3"}, "write it as 3/16"),
        ({"shard": "0/2"}, "write it as 3/16"),
        ({"shard": "3/2"}, "write it as 3/16"),
        ({"shard": "1/2", "until": "leaders"}, "--shard and --until exclude each other"),
        ({"retry": "failed", "until": "leaders"}, "--retry failed and --until exclude each other"),
        ({"retry": "faild"}, "did you mean 'failed'"),
        ({"max_failures": 0}, "allow one failure or more"),
    ],
)
def test_a_wrong_choice_is_a_sentence(tmp_path, results, options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        next(bench.run(written(tmp_path, losses=LOSSES), results=results, **options))
    assert not results.exists()


def test_a_disk_too_small_for_the_embeddings_is_said_before_anything_trains(tmp_path, results):
    wide = written(tmp_path, losses=LOSSES, dim=10**12)
    with pytest.raises(StoreError, match=r"the embeddings take \d+\.\d GB, and \d+\.\d GB are free"):
        list(bench.run(wide, results=results))


def test_real_runs_share_the_work_and_what_a_killed_one_had_is_taken_over(tmp_path, results):
    matrix = written(tmp_path, losses=LOSSES, fused=True, seeds=2, controls=False)

    def start(end):
        path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-c", SCRIPT, matrix, results, end]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **path})

    killed = start("killed")
    lost = killed.stdout.readline().split()[-1]  # the others find its job begun, however slow the machine is
    others = [start("whole"), start("whole")]
    lines = [line.split() for run in others for line in run.communicate()[0].splitlines()]
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert [run.returncode for run in others] == [0, 0]
    rows = store.statuses(bench.load(results))
    assert (len(rows), set(rows.values())) == (6, {"done"})
    ran = [key for kind, key in lines if kind == "started"]
    assert sorted(ran) == sorted(rows)
    assert lost in ran
    assert [path.name for path in results.glob(f"{LEASE}*")] == []
