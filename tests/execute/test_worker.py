"""What a worker does with a job: real processes that end themselves at a certain step, so no test depends on time."""

from pathlib import Path

import pytest
from support.jobs import tiny

import bench
from bench.execute.conditions import Conditions
from bench.execute.event import ENDINGS
from bench.execute.pool import Worker, execute
from bench.execute.run_options import Way
from bench.execute.worker import Limits, News, Outlook, Setup
from bench.matrix.job import ConfigError, Job
from bench.matrix.plugins import use
from bench.store.checked_files import SEEN
from bench.store.checkpoints import checkpoint
from bench.store.row_journal import NOTED

SIGNALLING = '''
"""A loss that sends its own process a signal at certain steps, once each."""

import os
import signal
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

AT = {6: signal.SIGTERM, 11: signal.SIGKILL}
"""Step -> signal: both in the middle of an epoch."""
MARKS = Path(__file__).parent


class Signalling(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.proxies = nn.Parameter(torch.randn(shape.classes, shape.dim))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, embeddings, labels):
        self.steps += 1
        with (MARKS / "steps").open("a") as file:
            print(int(self.steps), file=file)
        mark = MARKS / f"step-{int(self.steps)}"
        if int(self.steps) in AT and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), AT[int(self.steps)])
        return F.cross_entropy(embeddings @ self.proxies.T, labels) + 0 * torch.rand(())


def signalling(shape):
    """Softmax that is interrupted."""
    return Signalling(shape)
'''


@pytest.fixture
def job(tmp_path):
    """Four epochs of four steps."""
    (tmp_path / "plugin").mkdir()
    file = tmp_path / "plugin" / "signalling.py"
    file.write_text(SIGNALLING)
    use([file])
    (job,) = tiny(losses=["signalling"], recipe={"epochs": 4})
    yield job
    use([])


def told(job: Job, results: Path, attempts: int) -> list[tuple[str, int]]:
    """The events of a job that is asked for again whenever it has ended; of checkpoints that there are some."""
    queue = iter([job] * attempts)
    limits = Limits(checkpoint_every=1e-9)
    asked = Conditions(results, None, ["cpu"], limits=limits)
    events = [(event.kind, event.epochs) for event in execute(lambda: next(queue, None), [job], asked)]
    assert "checkpoint" in {kind for kind, _ in events}
    return [one for one in events if one[0] != "checkpoint"]


def test_a_worker_that_is_asked_to_stop_or_is_killed_continues_with_the_same_bits(tmp_path, job):
    epochs = [("epoch", number) for number in range(1, 5)]
    wild = told(job, tmp_path / "wild", 3)
    stopped = [("started", 0), epochs[0], ("stopped", 1)]  # in the second epoch, without a row
    killed = [("started", 0), epochs[1], ("failed", 2)]  # in the third
    assert wild == [*stopped, *killed, ("started", 0), *epochs[2:], ("done", 4)]
    steps = (tmp_path / "plugin" / "steps").read_text().split()
    assert list(map(int, steps)) == [*range(1, 12), *range(11, 17)]  # only the one that was under way is done again
    assert told(job, tmp_path / "calm", 1) == [("started", 0), *epochs, ("done", 4)]
    for folder in ("calm", "wild"):
        assert {path.name for path in (tmp_path / folder).iterdir()} == {job.key, NOTED, SEEN}
    files = [(tmp_path / folder / job.key / "embeddings.npy").read_bytes() for folder in ("calm", "wild")]
    assert files[0] == files[1]
    rows = [bench.load(tmp_path / folder).iloc[0] for folder in ("calm", "wild")]
    assert [row["resumed"] for row in rows] == [0, 2]
    for name in ("embeddings_sha", "first_hits_sha", "recall_at_1", "map_at_r", "nmi"):
        assert rows[0][name] == rows[1][name]


@pytest.fixture
def worker(tmp_path):
    """A process that waits for its first job."""
    one = Worker(Setup("cpu", 1, tmp_path, None))
    one.start()
    one.socket.send([])
    assert one.socket.recv() == Outlook([], [])
    yield one
    one.kill()
    one.bury()


def test_a_stop_before_a_job_leaves_no_row_and_the_next_one_runs(tmp_path, worker):
    (job,) = tiny()
    worker.ask_to_stop()
    worker.socket.send(job)
    assert [worker.socket.recv() for _ in range(2)] == [News("checkpoint"), News("stopped")]
    assert checkpoint(tmp_path, job.key) is not None
    worker.socket.send(job)
    assert [worker.socket.recv()[:2] for _ in range(3)] == [("epoch", 1), ("epoch", 2), ("done", 0)]
    assert checkpoint(tmp_path, job.key) is None


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(time_limit=1e-6), "it reached the time limit of 1e-06 minutes before it was trained: raise"),
        (Limits(memory_limit=1e-3), "above the memory limit of 0.001 GB: raise --memory-limit"),
    ],
    ids=["time", "memory"],
)
def test_a_limit_is_a_failed_row_with_its_reason_and_without_a_traceback(tmp_path, limits, reason):
    (job,) = tiny()
    queue = iter([job])
    *_, ending = execute(lambda: next(queue, None), [job], Conditions(tmp_path, None, ["cpu"], limits=limits))
    assert ending.kind == "failed"
    assert reason in ending.reason
    row = bench.load(tmp_path).iloc[0]
    assert (row["key"], row["status"], row["reason"]) == (job.key, "failed", ending.reason)
    assert not (tmp_path / job.key / "error.txt").exists()
    assert ending.kind in ENDINGS


@pytest.mark.parametrize(
    ("name", "value"),
    [("checkpoint_every", -1.0), ("checkpoint_every", float("nan")), ("time_limit", 0.0), ("memory_limit", -2.0)],
)
def test_limits_that_make_no_sense_are_refused(tmp_path, name, value):
    with pytest.raises(ConfigError, match=f"{name.replace('_', '-')} = .*: give a number above 0, or"):
        Way(tmp_path, **{name: value}).checked_limits()


def test_limits_that_make_sense_are_taken(tmp_path):
    assert Way(tmp_path, checkpoint_every=0, time_limit=30).checked_limits() == Limits(0, 30, None)
