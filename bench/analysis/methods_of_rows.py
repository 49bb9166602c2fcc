"""From stored rows to the methods of every board: what each seed of a line scores under one metric."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from bench.analysis.board_lines import Line
from bench.analysis.board_verdict import compared, line_methods
from bench.analysis.boards import Board, boards
from bench.analysis.differences import Method
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


def scored_boards(source: Source, metric: str, names: Sequence[str] = ()) -> list[ScoredBoard]:
    """The boards of a source that have a score under `metric`; class sums are left out, because reading them is slow.

    Controls are left out too, but for those of `names`: labels, keys or cells.

    Raises:
        ValueError: there are no rows.
    """
    if source.rows.empty:
        raise ValueError(f"{source.path} has no results to compare; run a matrix first, for example: bench run demo")
    rows = with_jobs(source.rows).drop_duplicates("key", keep="last").set_index("key", drop=False)
    by_key = {str(key): row for key, row in rows.to_dict("index").items()}
    found = [_scored(source.path, board, by_key, metric, names) for board in boards(source.rows, source.jobs)]
    return [one for one in found if one.lines]


def _scored(
    path: Path, board: Board, rows: Mapping[str, Mapping[Any, Any]], metric: str, names: Sequence[str]
) -> ScoredBoard:
    called = {line.cell for line in board.lines if {line.label, line.objective, line.cell, *line.keys} & set(names)}
    ranked = {line.cell for line in compared(board.lines, metric)} | called
    lines = tuple(line for line in board.lines if metric in line.scores and line.cell in ranked)
    place = _place(rows[lines[0].keys[0]]) if lines else Place("", "", "", 0)
    return ScoredBoard(path, board, place, lines, line_methods(lines, metric, source=str(path)))


def _place(row: Mapping[Any, Any]) -> Place:
    job, data, protocol = Job.stored(str(row["job"])), str(row["dataset_sha"]), int(row["protocol"])
    if job is None:
        return Place(f"labelled {row['dataset']}", data, f"labelled {row['backbone']}", protocol)
    return Place(job.digests.dataset, data, job.digests.backbone, protocol)
