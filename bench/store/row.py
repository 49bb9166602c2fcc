"""What one job leaves behind, first of all its row; `bench/store/columns.py` says what each column means."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from bench.matrix.job import Job, Role
from bench.store.columns import Distance, Status, types
from bench.store.queries import Queries

__all__ = ["MemberEpoch", "Provenance", "Result", "Row", "Status", "failure", "rows_table"]


class Provenance(BaseModel):
    """What a row says of where it was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    commit: str | None = None
    dirty: bool | None = None
    python: str | None = None
    torch: str | None = None
    timm: str | None = None
    pytorch_metric_learning: str | None = None
    device: str | None = None
    threads: int | None = None
    dataset_sha: str | None = None
    weights_sha: str | None = None
    weights_source: str | None = None


class Row(BaseModel):
    """One job's result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    cell: str
    job: str
    dataset: str
    backbone: str
    objective: str
    kind: Role
    members: tuple[str, ...]
    seed: int
    recipe: str
    protocol: int
    status: Status
    reason: str | None = None
    scores: dict[str, float | None] = {}
    seconds: float | None = None
    seconds_train: float | None = None
    seconds_evaluate: float | None = None
    images_per_second: float | None = None
    peak_memory_mb: float | None = None
    parameters: int | None = None
    embedding_dim: int | None = None
    distance: Distance | None = None
    epoch: tuple[int, ...] = ()
    overlap: str | None = None
    near_duplicates: int | None = None
    left_out: str | None = None
    stopping: str | None = None
    embeddings_sha: str | None = None
    first_hits_sha: str | None = None
    resumed: int | None = None
    started: str | None = None
    provenance: Provenance = Provenance()

    @classmethod
    def of(cls, job: Job, status: Status, **rest: Any) -> "Row":
        """A row with the identity of a job."""
        return cls(
            key=job.key,
            cell=job.cell,
            job=job.model_dump_json(),
            dataset=job.dataset.label,
            backbone=job.backbone.label,
            objective=job.objective.label,
            kind=job.role,
            members=job.member_labels,
            seed=job.seed,
            recipe=json.dumps(job.recipe.model_dump(mode="json")),
            protocol=job.protocol,
            stopping=job.stopping,
            status=status,
            **rest,
        )

    def flat(self) -> dict[str, Any]:
        """Column -> value, scores and provenance as columns of their own."""
        return self.model_dump(exclude={"scores", "provenance"}) | self.scores | self.provenance.model_dump()

    def table(self) -> pa.Table:
        """One Parquet row."""
        return rows_table([self.flat()])


class MemberEpoch(NamedTuple):
    """What an ensemble's member did in one epoch."""

    epoch: int
    member: str
    """Its label; inside a nested ensemble after that of the ensemble, " / " between."""
    value: float
    """Mean of its own loss over the epoch's batches."""
    weight: float | None
    """What its loss was multiplied by at the end of the epoch, running mean aside."""
    running_mean: float | None
    """What it was normalised by, where the ensemble does that."""
    model: int = 0
    """Which of the job's models."""


class Result(NamedTuple):
    """All that one job leaves behind."""

    row: Row
    history: tuple[dict[str, float], ...] = ()
    queries: Queries | None = None
    embeddings: NDArray[np.float32] | None = None
    members: tuple[MemberEpoch, ...] = ()
    training: NDArray[np.float32] | None = None
    traceback: str | None = None


def rows_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows with the same columns as a table, with the types that a job writes."""
    known = types()
    return pa.table({name: pa.array([row[name] for row in rows], known.get(name, pa.float64())) for name in rows[0]})


def failure(job: Job, status: Status, reason: str) -> Result:
    """What is stored of a job without scores."""
    return Result(Row.of(job, status, reason=reason))
