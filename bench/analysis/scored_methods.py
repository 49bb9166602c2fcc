"""From stored rows to the methods of every board: what each seed of a line scores under one metric."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.analysis.boards import Board, boards
from bench.analysis.differences import Method
from bench.analysis.lines import Line
from bench.analysis.older_jobs import with_jobs
from bench.matrix.job import Job

__all__ = ["Place", "ScoredBoard", "Source", "scored_boards"]


class Source(NamedTuple):
    """Stored results."""

    path: Path
    """A folder of results or a packed file."""
    rows: pd.DataFrame
    """Those of its rows that count, as `bench.load` gives them."""
    jobs: tuple[Job, ...] = ()
    """Whose labels are shown; where a row has no such job, the stored label is."""


class Place(NamedTuple):
    """What two boards must have in common to be comparable. Hashes, or a label where a row does not know its job."""

    dataset: str
    data: str
    """Hash over the images, labels and class names."""
    backbone: str
    protocol: int


class ScoredBoard(NamedTuple):
    """One board of one source, under one metric."""

    source: Path
    board: Board
    place: Place
    lines: tuple[Line, ...]
    """Those that have a score under the metric."""
    methods: tuple[Method, ...]
    """Of these lines, in the same order; labels are unique."""


def scored_boards(source: Source, metric: str) -> list[ScoredBoard]:
    """The boards of a source that have a score under `metric`; class sums are left out, because reading them is slow.

    Raises:
        ValueError: there are no rows.
    """
    if source.rows.empty:
        raise ValueError(f"{source.path} has no results to compare; run a matrix first, for example: bench run demo")
    rows = with_jobs(source.rows).drop_duplicates("key", keep="last").set_index("key", drop=False)
    by_key = {str(key): row for key, row in rows.to_dict("index").items()}
    found = [_scored(source.path, board, by_key, metric) for board in boards(source.rows, source.jobs)]
    return [one for one in found if one.lines]


def _scored(path: Path, board: Board, rows: Mapping[str, Mapping[Any, Any]], metric: str) -> ScoredBoard:
    lines = tuple(line for line in board.lines if metric in line.scores)
    labels = _unique(lines)
    methods = tuple(_method(line, label, rows, metric, str(path)) for line, label in zip(lines, labels, strict=True))
    place = _place(rows[lines[0].keys[0]]) if lines else Place("", "", "", 0)
    return ScoredBoard(path, board, place, lines, methods)


def _unique(lines: Sequence[Line]) -> list[str]:
    """Labels; those that two lines share get the end of the cell behind them."""
    labels = [line.label for line in lines]
    return [f"{line.label} (cell {line.cell[-12:]})" if labels.count(line.label) > 1 else line.label for line in lines]


def _place(row: Mapping[Any, Any]) -> Place:
    job, data, protocol = Job.stored(str(row["job"])), str(row["dataset_sha"]), int(row["protocol"])
    if job is None:
        return Place(f"labelled {row['dataset']}", data, f"labelled {row['backbone']}", protocol)
    return Place(job.digests.dataset, data, job.digests.backbone, protocol)


def _method(line: Line, label: str, rows: Mapping[str, Mapping[Any, Any]], metric: str, path: str) -> Method:
    return Method(
        label,
        tuple(int(rows[key]["seed"]) for key in line.keys),
        np.array([rows[key][metric] for key in line.keys], np.float64),
        models=frozenset(model for key in line.keys for model in _models(key, line.kind, rows, path)),
        outside=line.kind == "floor" or line.recipe.get("epochs") == "0",
    )


def _models(key: str, kind: str, rows: Mapping[str, Mapping[Any, Any]], path: str) -> list[str]:
    """The trained models behind one row. The same job trained twice is two models, told apart by when it began."""
    job = Job.stored(str(rows[key]["job"])) if kind in ("model_ensemble", "control") else None
    return [f"{one} {_began(rows.get(one)) or path}" for one in (_trained(job) if job else [key])]


def _trained(job: Job) -> list[str]:
    return [key for member in job.members for key in _trained(member)] if job.members else [job.key]


def _began(row: Mapping[Any, Any] | None) -> str:
    return "" if row is None or pd.isna(row["started"]) else str(row["started"])
