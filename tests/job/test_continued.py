"""Jobs that are stopped wherever they can be, and continued: the same bits as undisturbed ones, and no work twice."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from support.jobs import BACKBONE, go, tiny

from bench.job.backbones import conv4
from bench.job.run import run
from bench.job.watch import LimitError, Stopped, Terms
from bench.matrix.job import Job
from bench.store.checkpoints import checkpoint, keep_checkpoint
from bench.store.row import Result

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
RARELY = 10.0**6
COSTS = {"seconds", "seconds_train", "seconds_evaluate", "images_per_second", "peak_memory_mb", "started", "resumed"}


@dataclass
class Attempt:
    """Asks a job to stop when it has been looked at so many times."""

    looks: int
    said: list[str] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)

    def stop(self) -> bool:
        self.looks -= 1
        return self.looks < 0

    def run(self, job: Job, results: Path) -> Result:
        terms = Terms(every=RARELY, stop=self.stop, remark=self.said.append, progress=self.epochs.append)
        return run(job, data=None, results=results, device=CPU, terms=terms)


def finished(job: Job, results: Path, looks: int) -> tuple[Result, int]:
    """What it leaves when it is stopped again and again, and how often that was."""
    for attempts in range(1000):
        try:
            return Attempt(looks).run(job, results), attempts
        except Stopped:
            torch.manual_seed(0)  # what another job may leave behind
    raise AssertionError("it never ends")


def left(result: Result) -> dict[str, object]:
    """All that must not depend on how often it was stopped."""
    history = [{name: one for name, one in epoch.items() if name != "seconds"} for epoch in result.history]
    arrays = [result.embeddings, result.training, result.queries.first_hit]
    return {
        "row": repr(result.row.model_dump(exclude=COSTS)),
        "history": repr(history),
        "members": repr(result.members),
        "arrays": [array.tobytes() for array in arrays],
    }


FOLDS = {"validation": {"folds": 2}, "select": "validation", "classes_per_batch": 4, "head_epochs": 1, "epochs": 2}
SUM = {"name": "gradient_norm", "members": ["margin", {"name": "cross_batch_memory", "members": ["contrastive"]}]}


@pytest.mark.parametrize(
    ("looks", "changes"),
    [
        (3, {"losses": [], "ensembles": [SUM], "recipe": FOLDS}),
        (2, {"losses": ["margin"], "recipe": {"images_at_a_time": 7, "warmup_epochs": 1.5}}),
        (2, {"losses": ["proxy_nca"], "backbones": [{**BACKBONE, "weights": "conv4.pt", "frozen": True, "views": 2}]}),
        (3, {"losses": [{"name": "pml/CrossBatchMemory", "loss": "NTXentLoss", "miner": "HDCMiner"}]}),
    ],
    ids=["ensemble of two folds", "large batches", "frozen trunk", "pml"],
)
def test_a_job_that_is_stopped_again_and_again_ends_with_the_same_bits(tmp_path, monkeypatch, looks, changes):
    monkeypatch.chdir(tmp_path)
    torch.save(conv4(1, width=8).state_dict(), "conv4.pt")
    job, *_ = tiny(**changes)  # and the floor of a frozen trunk
    calm = go(job, tmp_path / "calm")
    wild, attempts = finished(job, tmp_path, looks)
    assert attempts > 1
    assert left(wild) == left(calm)
    assert (wild.row.resumed, calm.row.resumed) == (attempts, 0)


def test_no_step_is_done_twice_and_all_seconds_count(tmp_path):
    (job,) = tiny(recipe={"epochs": 4})
    first, second = Attempt(9), Attempt(10**6)
    with pytest.raises(Stopped):
        first.run(job, tmp_path)
    result = second.run(job, tmp_path)
    assert first.epochs + second.epochs == [1, 2, 3, 4]
    assert first.looks < 0
    assert result.row.seconds > sum(epoch["seconds"] for epoch in result.history) > 0


def test_a_checkpoint_is_written_as_often_as_asked(tmp_path):
    (job,) = tiny()
    run(job, data=None, results=tmp_path, device=CPU, terms=Terms(every=RARELY))
    assert checkpoint(tmp_path, job.key) is None
    run(job, data=None, results=tmp_path, device=CPU, terms=Terms(every=0))
    assert checkpoint(tmp_path, job.key) is not None


def test_without_checkpoints_a_stop_leaves_nothing(tmp_path):
    (job,) = tiny()
    with pytest.raises(Stopped):
        run(job, data=None, results=tmp_path, device=CPU, terms=Terms(stop=lambda: True))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["garbage", "another job", "another state"])
def test_a_checkpoint_that_is_no_good_is_told_once_and_costs_only_its_work(tmp_path, damage):
    (job,) = tiny(recipe={"epochs": 1})
    (other,) = tiny(losses=["contrastive"], recipe={"epochs": 1})
    (wider,) = tiny(recipe={"epochs": 1, "dim": 8})
    calm = run(job, data=None, results=tmp_path, device=CPU)
    with pytest.raises(Stopped):
        Attempt(1).run({"another job": other, "another state": wider}.get(damage, job), tmp_path)
    (file,) = tmp_path.iterdir()
    content = b"garbage" if damage == "garbage" else file.read_bytes()
    if damage == "another state":  # a program that has changed since
        content = _of_this_job(content, wider, job, tmp_path)
    file.unlink()
    keep_checkpoint(tmp_path, job.key, lambda draft: draft.write_bytes(content))
    attempt = Attempt(10**6)
    wild = attempt.run(job, tmp_path)
    assert left(wild) == left(calm)
    assert (wild.row.resumed, len(attempt.said)) == (0, 1)
    assert "the job starts from its beginning" in attempt.said[0]
    assert list(tmp_path.iterdir()) == []


def _of_this_job(content: bytes, before: Job, job: Job, folder: Path) -> bytes:
    """A checkpoint of a job as if another job had written it."""
    from bench.datasets import load as dataset
    from bench.job.checkpoint import load, save

    file, identity = folder / "foreign", {"data": dataset(job.dataset, None).sha}
    file.write_bytes(content)
    save(file, load(file, {"key": before.key, **identity}), {"key": job.key, **identity})
    changed = file.read_bytes()
    file.unlink()
    return changed


def test_a_disk_that_takes_no_checkpoint_is_told_once_and_the_job_goes_on(tmp_path):
    (job,) = tiny()
    place = tmp_path / "a file"
    place.write_text("in the way")
    said = []
    result = run(job, data=None, results=place, device=CPU, terms=Terms(every=0, remark=said.append))
    assert result.row.status == "done"
    assert len(said) == 1
    assert "its checkpoint cannot be written (File exists); the job goes on" in said[0]


def test_a_job_that_reaches_its_time_limit_says_so(tmp_path):
    (job,) = tiny()
    with pytest.raises(LimitError, match=r"it reached the time limit of 0\.0001 minutes before"):
        run(job, data=None, results=tmp_path, device=CPU, terms=Terms(seconds=0.006))


def test_earlier_attempts_count_for_the_time_limit(tmp_path):
    (job,) = tiny()
    with pytest.raises(Stopped):
        Attempt(2).run(job, tmp_path)
    spent = run(job, data=None, results=tmp_path, device=CPU).row.seconds
    assert checkpoint(tmp_path, job.key) is not None  # the worker removes it, with the row
    assert spent < math.inf
    with pytest.raises(LimitError):
        run(job, data=None, results=tmp_path, device=CPU, terms=Terms(seconds=min(spent / 1000, 0.01)))


def test_a_job_that_holds_too_much_memory_says_so(tmp_path):
    (job,) = tiny()
    with pytest.raises(LimitError, match=r"it held \d+\.\d\d GB, above the memory limit of 0.001 GB: raise --memory-"):
        run(job, data=None, results=tmp_path, device=CPU, terms=Terms(memory=1e6))
    ballast = np.ones(10**8, np.uint8)
    with pytest.raises(LimitError) as error:
        run(job, data=None, results=tmp_path, device=CPU, terms=Terms(memory=1e6))
    assert float(str(error.value).split()[2]) > ballast.nbytes / 1e9
