"""Stored results of a few methods, as files and folders, with scores that a test chooses."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from support.sample_rows import job, row, table

from bench import store
from bench.store.queries import Queries
from bench.store.row import Result, Row

SCORES = {
    "best": (0.80, 0.81, 0.79, 0.80, 0.80),
    "second": (0.70, 0.71, 0.69, 0.70, 0.71),
    "third": (0.70, 0.70, 0.69, 0.71, 0.71),
    "last": (0.50, 0.51, 0.49, 0.50, 0.51),
}


def stored_rows(scores: Mapping[str, Sequence[float]] = SCORES, **others: Any) -> list[dict[str, Any]]:
    """One row per method and seed; `others` as for `row`."""
    runs = ((name, seed, value) for name, values in scores.items() for seed, value in enumerate(values))
    return [row(name, seed, recall_at_1=value, **others) for name, seed, value in runs]


def write_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """A file like that of `bench pack`, without logs and queries."""
    table([dict(one) for one in rows]).to_parquet(file)
    return file


def write_classes(folder: Path, shares: Mapping[str, Sequence[Sequence[float]]], *, each: int = 20) -> Path:
    """A folder of results: method -> seed -> share of first hits at rank 1 of each class of `each` queries."""
    for name, seeds in shares.items():
        for seed, values in enumerate(seeds):
            hits = np.concatenate([np.arange(each) < round(each * share) for share in values])
            classes = np.repeat(np.arange(len(values)), each)
            queries = Queries(classes, np.where(hits, 1, 3).astype(np.int32), {}, None, None)
            done = Row.of(job(name, seed), "done", scores={"recall_at_1": float(hits.mean())})
            store.write(folder, Result(done, queries=queries))
    return folder
