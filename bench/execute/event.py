"""What a run of a matrix tells of its jobs while it goes on."""

from typing import Literal, NamedTuple, get_args

from bench.analysis.stopping import Decision
from bench.matrix.job import Job
from bench.store.row import Status

__all__ = ["ENDINGS", "Event"]

EventKind = Literal[
    "stored",
    "planned",
    "comparing",
    "elsewhere",
    "started",
    "embedding",
    "epoch",
    "checkpoint",
    "decided",
    "remark",
    "stopping",
    "stopped",
    Status,
]

ENDINGS: tuple[Status, ...] = get_args(Status)
"""The kinds that end a job."""


class Event(NamedTuple):
    """News of one job.

    Of every job first that it is `stored`, so that it is not run again, or `planned`; of a planned one then that it has
    `started`, each `epoch`, and how it ended: `done`, `failed`, `diverged` or `skipped`. `comparing` says that the test
    photos of the job's dataset are being compared with its training photos, which takes minutes for a large one;
    `embedding` how many pictures are through a frozen trunk, once for all jobs. `decided` is news of the board of the
    job (its dataset and backbone): a rule has looked at the seeds so far. `remark` says in `reason` what is to be
    known of a job that goes on. Of a run that is to stop, every running job is `stopping`, and then `stopped`, unless
    it just ends: it has a checkpoint and no row, and the same call continues. Where several runs share a folder of
    results, `elsewhere` says that another run has a planned job, who, and how far it is; how it ends is told as if it
    ran here. `checkpoint` says that a running job can be continued from where it is now.
    """

    kind: EventKind
    job: Job
    epochs: int = 0
    """Epochs done so far, of all its models; of `embedding` pictures."""
    reason: str | None = None
    """Why there are no scores, one sentence; of `elsewhere` who has the job."""
    decision: Decision | None = None
    """What was decided, with its sentences."""
    of: int = 0
    """Of how many pictures; of `elsewhere` epochs."""
