"""The trained models behind every row: methods that share some are compared seed by seed."""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from bench.matrix.job import TRAINED, Job

__all__ = ["Models", "TrainedModel", "trained_models"]


class TrainedModel(NamedTuple):
    """The same job trained twice is two models."""

    key: str
    """Of the job that trained it."""
    began: str
    """When, as its row says; empty where no row does."""


Models = Mapping[str, tuple[TrainedModel, ...]]
"""By the key of a row."""


def trained_models(rows: pd.DataFrame) -> Models:
    """The models of all `rows` (as `bench.load` gives them): its own, of a fusion its members', of a student both."""
    began = dict(zip(rows["key"], rows["started"].fillna("").astype(str), strict=True))
    made_of = rows["kind"].isin(("model_ensemble", "student", "control")) & rows["members"].map(len).gt(0)
    fused = rows[made_of & rows["job"].notna()]
    jobs = ((key, Job.stored(text)) for key, text in zip(fused["key"], fused["job"], strict=True))
    made = {key: _trained(job) for key, job in jobs if job}
    parts = {key: made.get(key, [key]) for key in rows["key"]}
    return {key: tuple(TrainedModel(one, began.get(one, "")) for one in found) for key, found in parts.items()}


def _trained(job: Job) -> list[str]:
    taught = [key for member in job.members for key in _trained(member)]
    return [*taught, job.key] if job.kind in TRAINED else taught
