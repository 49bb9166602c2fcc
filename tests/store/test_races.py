"""Several processes write to one place at the same moment, again and again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.stored import finished

import bench
from bench import store
from bench.matrix.expand import expand
from bench.matrix.file import Matrix
from bench.store.job_folders import DRAFT
from bench.store.processes import Process, marked, ours
from bench.store.publish import move_aside
from bench.store.row import failure

MATRIX = Matrix.model_validate({"datasets": ["glyphs"], "backbones": ["conv4"], "losses": ["triplet"], "seeds": 3})
JOBS = expand(MATRIX)
JOB = JOBS[0]

LOCKSTEP = """
import sys
from pathlib import Path
from support.stored import finished
from bench import store
from bench.matrix.job import Job
from bench.store.row import failure
place, ending, job = Path(sys.argv[1]), sys.argv[2], Job.model_validate_json(sys.argv[3])
result = finished(job) if ending == "done" else failure(job, "failed", ending)._replace(traceback=ending)
print("ready", flush=True)
for line in sys.stdin:
    folder = place / line.strip()
    store.pack(place / "runs", folder) if ending == "pack" else store.write(folder, result)
    print("written", flush=True)
"""


def in_lockstep(place: Path, endings: list[str], rounds: int) -> None:
    """Have one process for each ending write to the folders 0, 1, ... of `place`, each folder at the same moment."""
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", LOCKSTEP, place, ending, JOB.model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **path},
        )
        for ending in endings
    ]
    assert [writer.stdout.readline() for writer in writers] == ["ready\n"] * len(writers)
    for number in range(rounds):
        for writer in writers:
            writer.stdin.write(f"{number}\n")
            writer.stdin.flush()
        assert [writer.stdout.readline() for writer in writers] == ["written\n"] * len(writers)
    for writer in writers:
        writer.communicate()
    assert [writer.returncode for writer in writers] == [0] * len(writers)


@pytest.mark.parametrize("before", [False, True], ids=["an empty place", "a failed row"])
def test_a_finished_row_stands_whatever_is_written_at_the_same_moment(tmp_path, before):
    rounds = 60
    for number in range(rounds if before else 0):
        store.write(tmp_path / str(number), failure(JOB, "failed", "before"))
    in_lockstep(tmp_path, ["failed", "done", "killed"], rounds)
    for number in range(rounds):
        rows = bench.load(tmp_path / str(number))
        assert rows["status"].tolist() == ["done"]
        assert store.embeddings(tmp_path / str(number), JOB.key).shape == (3, 3)


def test_a_failed_row_is_rewritten_by_two_and_stays_one(tmp_path):
    rounds = 60
    for number in range(rounds):
        store.write(tmp_path / str(number), failure(JOB, "failed", "before"))
    in_lockstep(tmp_path, ["one", "two"], rounds)
    for number in range(rounds):
        (row,) = bench.load(tmp_path / str(number)).to_dict("records")
        assert (row["status"], row["reason"] in ("one", "two")) == ("failed", True)


def test_two_packs_to_one_file_leave_a_whole_one(tmp_path):
    for job in JOBS:
        store.write(tmp_path / "runs", finished(job))
    in_lockstep(tmp_path, ["pack", "pack"], 30)
    assert {len(bench.load(tmp_path / str(number))) for number in range(30)} == {3}


def test_a_failed_row_in_the_place_of_another_leaves_nothing_of_it(tmp_path):
    store.write(
        tmp_path, failure(JOB, "failed", "first")._replace(traceback="first", embeddings=finished(JOB).embeddings)
    )
    store.write(tmp_path, failure(JOB, "skipped", "second"))
    assert bench.load(tmp_path)["reason"].tolist() == ["second"]
    assert [path.name for path in (tmp_path / JOB.key).iterdir()] == ["row.parquet"]


def test_embeddings_that_are_gone_come_back_and_others_are_not_replaced(tmp_path):
    store.write(tmp_path, finished(JOB, recall_at_1=0.5))
    (tmp_path / JOB.key / "embeddings.npy").unlink()
    store.write(tmp_path, failure(JOB, "failed", "killed"))
    assert bench.load(tmp_path)["recall_at_1"].tolist() == [0.5]
    for score in (0.75, 0.25):
        store.write(tmp_path, finished(JOB, recall_at_1=score))
        assert bench.load(tmp_path)["recall_at_1"].tolist() == [0.75]
    assert store.embeddings(tmp_path, JOB.key).shape == (3, 3)


def test_a_draft_of_an_ended_process_goes_at_once_and_others_stay(tmp_path):
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    ended = ours()._replace(pid=int(child.stdout), born=1)
    living, again, elsewhere = ours(), ours()._replace(born=1), ended._replace(place="01234567")
    makers = {"ended": ended, "living": living, "again": again, "elsewhere": elsewhere}
    for name, maker in makers.items():
        (tmp_path / f"{DRAFT}{maker.mark}{name}").mkdir()
        (tmp_path / f"{DRAFT}{maker.mark}file-{name}").write_bytes(b"")
    store.prepare(tmp_path)
    left = {path.name.rpartition("-")[2] for path in tmp_path.iterdir()}
    assert left == ({"living", "elsewhere"} if ours().born else {"living", "again", "elsewhere"})


def test_a_process_that_has_ended_and_waits_for_its_parent_is_dead():
    with subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert ours()._replace(pid=child.pid, born=0).dead == bool(ours().born)
    assert not ours().dead
    assert marked(f"{ours().mark}k3x9") == ours()
    assert marked("0123abcd") is None
    assert not Process("01234567", child.pid, 0).dead


def test_a_result_that_came_after_the_look_at_a_damaged_one_stays_in_its_place(tmp_path):
    store.write(tmp_path, finished(JOB))
    home = tmp_path / JOB.key
    looked_at = os.stat(home)
    os.rename(home, tmp_path / "the damaged one")  # as another run does, which then stores the job anew
    store.write(tmp_path, finished(JOB))
    there = os.stat(home)
    assert move_aside(home, seen=looked_at) is None
    assert os.path.samestat(os.stat(home), there)
    assert move_aside(home, seen=there) == f".broken-{JOB.key}-0"
    assert move_aside(home, seen=there) is None
