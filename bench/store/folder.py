"""Where results lie: one folder per job, written whole or not at all, and one Parquet file when packed.

KEY/row.parquet       one row: identity, outcome, scores, cost, provenance (results/README.md lists the columns)
KEY/history.parquet   one row per epoch
KEY/members.parquet   one row per epoch and member of an ensemble: its value, weight and running mean
KEY/queries.parquet   one row per query (see store/queries.py)
KEY/embeddings.npy    float32 [queries + gallery, dim], as compared at test time
KEY/training.npy      float32 [images, dim], the same of training images, for what is learned from them afterwards
KEY/error.txt         the traceback of a job that failed
"""

import errno
import os
import shutil
import time
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.store.job_row import NONE, read_row, read_rows
from bench.store.logs import LOGS
from bench.store.older import identified
from bench.store.packed import read_packed, schema
from bench.store.places import DAY, DRAFT, StoreError, holds_job, only_ours, unopened
from bench.store.queries import PACKED, write_queries
from bench.store.row import Result, Status
from bench.store.sound import unsound
from bench.store.stored_file import DamagedError

__all__ = [
    "TRAINING",
    "StoreError",
    "empty",
    "load",
    "move_aside",
    "prepare",
    "set_aside",
    "statuses",
    "write",
]


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
        Path(mkdtemp(prefix=DRAFT, dir=results)).rmdir()
        for draft in [path for path in results.iterdir() if path.name.startswith(DRAFT)]:
            with suppress(OSError):  # another run has just removed it, or it is another user's
                _remove_draft(draft)
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(_advice(error, results)) from error


def _remove_draft(draft: Path) -> None:
    """Remove what a killed run left: a day old, so not of a run under way, and with nothing in it but files of ours."""
    if draft.is_symlink() or not draft.is_dir() or time.time() - draft.stat().st_mtime < DAY:
        return
    if only_ours(draft):
        shutil.rmtree(draft, ignore_errors=True)


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
        draft = Path(mkdtemp(prefix=DRAFT, dir=results))
        try:
            _write_files(draft, result)
            _publish(draft, home)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(_advice(error, results)) from error


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


def _publish(draft: Path, home: Path) -> None:
    """Rename the draft to its place; a finished job is never replaced, any other row gives way."""
    draft.chmod(0o755)
    if _status(home) not in {None, "done", "diverged"}:
        _clear(home, draft.with_name(f"{draft.name}-old"))
    try:
        draft.rename(home)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        if _status(home) is None:
            raise StoreError(f"{home}: holds something else than results; move it to another place") from error


def _status(home: Path) -> str | None:
    """What became of a stored job, or that its row is damaged; None where there is nothing of ours."""
    try:
        row = read_row(home) if holds_job(home) else None
    except DamagedError:
        return "damaged"
    return None if row is None else str(row["status"][0].as_py())


def _clear(home: Path, place: Path) -> None:
    """Remove a folder of ours; one in which someone put a file of theirs is kept under another name."""
    if home.is_symlink() or not only_ours(home):
        move_aside(home)
    else:
        home.rename(place)
        shutil.rmtree(place, ignore_errors=True)


def _advice(error: OSError, results: Path) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, None}:  # numpy names no number for a short write
        return f"{results}: the disk is full; free some space and give the same command again, finished jobs are kept"
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return str(unopened(results, error))
    return f"{results}: cannot be written ({error.strerror}); name another folder with --results"


def statuses(rows: pd.DataFrame) -> dict[str, Status]:
    """Key -> status of rows as `load` gives them."""
    return dict(zip(rows["key"], rows["status"], strict=True))


def set_aside(results: Path) -> list[str]:
    """Rename folders of ours whose row is damaged, so that their jobs run again; one sentence each.

    Raises:
        StoreError: a row cannot be opened, which is no damage; nothing is renamed then.
    """
    try:
        return [
            f"{folder / 'row.parquet'}: {why}; its folder is set aside as {move_aside(folder)}, and the job runs again"
            for folder, why in read_rows(results).damaged.items()
        ]
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(_advice(error, results)) from error


def move_aside(folder: Path) -> str:
    """Give a folder a name that is no key; returns the name."""
    free = (folder.with_name(f".broken-{folder.name}-{n}") for n in range(10**6))
    place = next(path for path in free if not path.exists() and not path.is_symlink())
    folder.rename(place)
    return place.name


def load(source: str | Path) -> pd.DataFrame:
    """One row per job, from a folder of results or a packed file; results/README.md explains the columns.

    A folder whose row cannot be read is named in a warning and left out.

    Raises:
        FileNotFoundError: there is no such file or folder.
        StoreError: the file is none that `pack` makes.
    """
    table = rows_of(Path(source))
    return identified(table.to_pandas())


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
