"""Where results lie: one folder per job, written whole or not at all, and one Parquet file when packed.

KEY/row.parquet       one row: identity, outcome, scores, cost, provenance (results/README.md lists the columns)
KEY/history.parquet   one row per epoch
KEY/members.parquet   one row per epoch and member of an ensemble: its value, weight and running mean
KEY/queries.parquet   one row per query (see store/queries.py)
KEY/embeddings.npy    float32 [queries + gallery, dim], as compared at test time
KEY/training.npy      float32 [images, dim], the same of training images, for what is learned from them afterwards
KEY/error.txt         the traceback of a job that failed

Beside them lie the checkpoints of jobs that are not finished (see store/checkpoints.py), and files that make reading
many rows quicker, which may be deleted (see store/row_cache.py, store/row_journal.py and store/checked_files.py).
"""

import os
import shutil
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.store.checked_files import mark, note_seen
from bench.store.checkpoints import sweep_checkpoints
from bench.store.column_checks import unsound
from bench.store.columns import types
from bench.store.damage import LOOK
from bench.store.job_folders import StoreError, unwritten
from bench.store.leases import sweep_leases
from bench.store.logs import LOGS
from bench.store.mirror import mirrored
from bench.store.packed_file import read_packed, schema
from bench.store.printable_rows import readable
from bench.store.publish import finished, move_aside, new_draft, publish, sweep_drafts
from bench.store.queries import PACKED, write_queries
from bench.store.row import Result, Row, Status
from bench.store.row_cache import stamp
from bench.store.row_file import NONE, read_rows
from bench.store.row_journal import note
from bench.store.rows_without_job import identified

__all__ = [
    "TRAINING",
    "StoreError",
    "empty",
    "keep",
    "load",
    "prepare",
    "set_aside",
    "statuses",
    "write",
]


LONG = ("job", "recipe")
"""Columns of long texts, which a data frame has as Python's strings: every selection of rows would copy Arrow's."""
NAMED = 20
"""Rows left out that are named, at most."""
TRAINING = 2048
"""Training images whose embeddings are stored, at most: enough to learn a projection from."""


def prepare(results: Path) -> None:
    """Make the folder of results, and see that it can be written, before anything trains.

    Raises:
        StoreError: it cannot.
    """
    try:
        results.mkdir(parents=True, exist_ok=True)
        new_draft(results).rmdir()
        sweep_drafts(results)
        sweep_checkpoints(results, finished)
        sweep_leases(results)
    except StoreError:
        raise
    except OSError as error:
        raise unwritten(results, error) from error


def empty() -> pd.DataFrame:
    """No rows, with their columns."""
    frame: pd.DataFrame = NONE.to_pandas()
    return frame


def write(results: Path, result: Result) -> None:
    """Store one job: written to a temporary folder beside its place, then renamed.

    Raises:
        StoreError: the folder cannot be written, or the disk is full.
    """
    home = results / result.row.key
    try:
        results.mkdir(parents=True, exist_ok=True)
        draft = new_draft(results)
        try:
            _write_files(draft, result)
            written = os.stat(draft / "row.parquet")
            publish(draft, home, result.row.status)
            _note(home, result.row, written)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except StoreError:
        raise
    except OSError as error:
        raise unwritten(results, error) from error


def _note(home: Path, row: Row, written: os.stat_result) -> None:
    """Spare the next reader the job's files, if it is these that stand there now."""
    with suppress(OSError):
        one = stamp(home)
        if one and os.path.samestat(os.stat(home / "row.parquet"), written):
            note(home.parent, one, row.flat())
            note_seen(home.parent, [mark(home, LOOK)])


def _write_files(draft: Path, result: Result) -> None:
    if result.history:
        pq.write_table(pa.Table.from_pylist(list(result.history)), draft / "history.parquet")
    if result.members:
        pq.write_table(pa.Table.from_pylist([entry._asdict() for entry in result.members]), draft / "members.parquet")
    if result.queries is not None:
        write_queries(result.queries, draft / "queries.parquet")
    if result.embeddings is not None:
        np.save(draft / "embeddings.npy", result.embeddings.astype(np.float32, copy=False))
    if result.training is not None:
        np.save(draft / "training.npy", result.training.astype(np.float32, copy=False))
    if result.traceback is not None:
        (draft / "error.txt").write_text(result.traceback, encoding="utf-8")
    pq.write_table(result.row.table(), draft / "row.parquet")


def statuses(rows: pd.DataFrame) -> dict[str, Status]:
    """Key -> status of rows as `load` gives them."""
    return dict(zip(rows["key"], rows["status"], strict=True))


class Left(NamedTuple):
    """What is left of a folder of results."""

    rows: pd.DataFrame
    """As `load` gives them."""
    sentences: tuple[str, ...]
    """One for each folder that was set aside."""


def set_aside(results: Path) -> Left:
    """Rename folders of ours whose row is damaged, so that their jobs run again.

    Raises:
        StoreError: a row cannot be opened, which is no damage; nothing is renamed then.
    """
    found = read_rows(results)
    try:
        named = [(folder, why, move_aside(folder)) for folder, why in found.damaged.items()]
    except StoreError:
        raise
    except OSError as error:
        raise unwritten(results, error) from error
    sentences = (
        f"{folder / 'row.parquet'}: {why}; its folder is set aside as {name}, and the job runs again"
        for folder, why, name in named
        if name
    )
    return Left(_frame(found.whole), tuple(sentences))


def keep(results: Path) -> None:
    """Put the rows of a folder where they are read quickest, if there are many new ones."""
    with suppress(OSError):  # whoever needs the rows will say what is wrong
        read_rows(results)


def load(source: str | Path) -> pd.DataFrame:
    """One row per job, from a folder of results, a packed file or an address; results/README.md explains the columns.

    A folder whose row cannot be read is named in a warning and left out. An address is one of fsspec, such as
    s3://bucket/prefix; its rows are fetched first.

    Raises:
        FileNotFoundError: there is no such file or folder.
        StoreError: the file is none that `pack` makes, or the address cannot be used.
    """
    return _frame(rows_of(mirrored(source)))


def _frame(rows: pa.Table) -> pd.DataFrame:
    for name, kind in types().items():  # what others have written may lack some
        if name not in rows.column_names:
            rows = rows.append_column(name, pa.nulls(len(rows), kind))
    frame = identified(rows.to_pandas())
    frame = readable(frame.astype(dict.fromkeys(LONG, object)))
    pa.default_memory_pool().release_unused()  # else what reading took stays with the pool: 80 MB for 10,000 rows
    return frame


def rows_of(source: Path) -> pa.Table:
    """The same as an Arrow table, and as it is stored."""
    if os.path.isfile(source):
        return _packed_rows(source)
    found = read_rows(source)
    _tell(
        f"{folder / 'row.parquet'}: {why}; `bench run` sets it aside and runs the job again"
        for folder, why in found.damaged.items()
    )
    return found.whole


def _packed_rows(file: Path) -> pa.Table:
    beside = {kind.packed for kind in LOGS.values()}
    names = schema(file).names
    table = read_packed(file, [name for name in names if name not in beside and not name.startswith(PACKED)])
    wrong = unsound(table)
    _tell(f"{file}: row {number + 1:,} {why}" for number, why in wrong.items())
    return table.filter(pa.array([number not in wrong for number in range(len(table))])) if wrong else table


def _tell(sentences: Iterable[str]) -> None:
    """Warn of rows that are left out: of a few by name, of more by number."""
    told = [f"{sentence}; it is left out" for sentence in sentences]
    rest = [f"{len(told) - NAMED:,} more rows are left out, for reasons like these"] if len(told) > NAMED else []
    for sentence in (*told[:NAMED], *rest):
        warnings.warn(sentence, stacklevel=5)
