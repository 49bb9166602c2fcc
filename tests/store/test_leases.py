"""One run has a job at a time, whatever others try at the same moment, and a job that was left behind finds another."""

import json
import os
import subprocess
import sys
import time

import pytest

from bench.store import leases as module
from bench.store import prepare
from bench.store.job_folders import StoreError
from bench.store.leases import LEASE, Leases, leases

KEY = "glyphs-conv4-triplet-s0-0123456789ab"

LOCKSTEP = """
import sys
from pathlib import Path
from bench.store.leases import Leases
held = Leases(Path(sys.argv[1]))
print("ready", flush=True)
for line in sys.stdin:
    print(int(held.claim(line.strip())), flush=True)
held.close()
"""


@pytest.fixture
def two(tmp_path):
    """The leases of two runs."""
    runs = Leases(tmp_path), Leases(tmp_path)
    yield runs
    for run in runs:
        run.close()


def test_a_job_is_one_runs_until_it_gives_it_back(tmp_path, two):
    one, other = two
    assert one.claim(KEY, of=10)
    assert not other.claim(KEY)
    assert other.claim(KEY.replace("s0", "s1"))
    found = other.other(KEY)
    assert (found.pid, found.of, found.run) == (os.getpid(), 10, one.run)
    other.release(KEY)  # which it does not have
    assert not other.claim(KEY)
    one.release(KEY)
    assert other.other(KEY) is None
    assert other.claim(KEY)
    other.close()
    assert list(tmp_path.iterdir()) == []


def test_of_several_processes_at_one_moment_one_has_the_job(tmp_path):
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", LOCKSTEP, tmp_path]
    runs = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **path})
        for _ in range(3)
    ]
    assert [run.stdout.readline() for run in runs] == ["ready\n"] * 3
    for number in range(100):
        for run in runs:
            run.stdin.write(f"{KEY.replace('s0', f's{number}')}\n")
            run.stdin.flush()
        assert sorted(run.stdout.readline() for run in runs) == ["0\n", "0\n", "1\n"]
    assert len(leases(tmp_path)) == 100
    for run in runs:
        run.communicate()
    assert list(tmp_path.iterdir()) == []


def test_what_an_ended_process_of_this_machine_left_is_taken_over_at_once(tmp_path, two):
    code = (
        "import os, sys; from pathlib import Path; from bench.store.leases import Leases; "
        "Leases(Path(sys.argv[1])).claim(sys.argv[2]); os._exit(1)"
    )
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", code, tmp_path, KEY], env={**os.environ, **path})
    assert leases(tmp_path)[KEY].dead
    one, other = two
    assert one.claim(KEY)
    assert not other.claim(KEY)
    assert leases(tmp_path)[KEY].run == one.run


def test_what_is_not_renewed_is_left_behind_by_the_clock_of_who_watches(tmp_path, two):
    """The dates in the lease say nothing: here they are of the year 2099."""
    one, other = two
    assert one.claim(KEY)
    file = tmp_path / f"{LEASE}{KEY}"
    lease = json.loads(file.read_text()) | {"renewed": "2099-01-01T00:00:00Z", "place": "01234567"}
    file.write_text(json.dumps(lease))
    assert not other.claim(KEY)
    long_ago = time.monotonic() - module.STALE - 1
    other.seen[KEY] = (file.read_bytes(), long_ago)
    one._renew(KEY)
    assert leases(tmp_path)[KEY].count == 1
    assert not other.claim(KEY)
    other.seen[KEY] = (file.read_bytes(), long_ago)
    assert other.claim(KEY)
    one._renew(KEY)
    one.release(KEY)
    assert leases(tmp_path)[KEY].run == other.run


def test_a_lease_that_was_just_taken_over_is_not_taken_over_again(tmp_path, two):
    one, other = two
    assert one.claim(KEY)
    file = tmp_path / f"{LEASE}{KEY}"
    before = file.read_bytes()
    one._renew(KEY)
    assert not other._removed(file, before)
    assert leases(tmp_path)[KEY].count == 1
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize(
    "kind", ["nothing in it", "letters", "a colour as host", "a folder", "a pipe", "a link to nothing"]
)
def test_a_lease_that_cannot_be_read_keeps_the_job_for_a_minute(tmp_path, two, kind, monkeypatch):
    file = tmp_path / f"{LEASE}{KEY}"
    match kind:
        case "a folder":
            file.mkdir()
        case "a colour as host":
            assert two[1].claim(KEY)
            file.write_text(json.dumps(json.loads(file.read_text()) | {"host": "\x1b[31m", "pid": 2**70}))
        case "a pipe":
            os.mkfifo(file)
        case "a link to nothing":
            file.symlink_to("nowhere")
        case _:
            file.write_text("" if kind == "nothing in it" else "{letters")
    assert leases(tmp_path) == {}
    assert not two[0].claim(KEY)
    monkeypatch.setattr(module, "STALE", 0)
    assert two[0].claim(KEY)


def test_the_thread_renews_what_is_held_and_tells_how_far_it_is(tmp_path, two, monkeypatch):
    monkeypatch.setattr(module, "RENEW", 0.01)
    one, _ = two
    assert one.claim(KEY, of=10)
    one.progress(KEY, 3)
    while not (found := leases(tmp_path)[KEY]).epochs:
        time.sleep(0.01)
    assert (found.epochs, found.of, found.started < found.renewed) == (3, 10, True)


def test_leases_of_ended_processes_and_forgotten_ones_are_swept(tmp_path, two):
    names = {name: KEY.replace("s0", f"s{number}") for number, name in enumerate(["living", "ended", "forgotten"])}
    for key in names.values():
        assert two[0].claim(key)
    for name, change in {"ended": {"pid": 2**22 + 1, "born": 1}, "forgotten": {"place": "01234567"}}.items():
        file = tmp_path / f"{LEASE}{names[name]}"
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
    os.utime(file, (10**9, 10**9))
    prepare(tmp_path)
    assert leases(tmp_path).keys() == {names["living"]}


def test_a_folder_that_is_gone_is_a_sentence(tmp_path):
    with pytest.raises(StoreError, match="cannot be written"):
        Leases(tmp_path / "nowhere").claim(KEY)
