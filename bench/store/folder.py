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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.store.columns import types
from bench.store.logs import LOGS, log
from bench.store.older import identified
from bench.store.places import job_folders
from bench.store.queries import PACKED, pack_queries, packed_encodings, write_queries
from bench.store.row import Result, Status

__all__ = [
    "TRAINING",
    "StoreError",
    "embeddings",
    "empty",
    "load",
    "pack",
    "prepare",
    "set_aside",
    "statuses",
    "training",
    "write",
]


TRAINING = 2048
"""Training images whose embeddings are stored, at most: enough to learn a projection from."""
GROUP = 32
"""Jobs per row group of a packed file: as many are read where one is asked for."""


ESSENTIAL = ("key", "dataset", "backbone", "objective", "kind", "seed", "recipe", "protocol", "status")
"""Columns that every row ever stored has."""


class StoreError(OSError):
    """Results cannot be written or read; one sentence says what to do."""


def prepare(results: Path) -> None:
    """Make the folder of results, and see that it can be written, before anything trains.

    Raises:
        StoreError: it cannot.
    """
    try:
        results.mkdir(parents=True, exist_ok=True)
        for draft in results.glob(".draft-*"):
            if time.time() - draft.stat().st_mtime > 86400:  # left by a killed run, not by one under way
                shutil.rmtree(draft, ignore_errors=True)
        Path(mkdtemp(prefix=".draft-", dir=results)).rmdir()
    except OSError as error:
        raise StoreError(_advice(error, results)) from error


def empty() -> pd.DataFrame:
    """No rows, with their columns."""
    frame: pd.DataFrame = _EMPTY.to_pandas()
    return frame


def write(results: Path, result: Result) -> None:
    """Store one job: written to a temporary folder beside its place, then renamed.

    Raises:
        StoreError: the folder cannot be written, or the disk is full.
    """
    home = results / result.row.key
    try:
        results.mkdir(parents=True, exist_ok=True)
        draft = Path(mkdtemp(prefix=".draft-", dir=results))
        try:
            _write_files(draft, result)
            _publish(draft, home)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
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
    if home.exists() and _status(home) not in {"done", "diverged"}:
        home.rename(draft.with_name(draft.name + "-old"))
        shutil.rmtree(draft.with_name(draft.name + "-old"), ignore_errors=True)
    try:
        draft.rename(home)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise


def _advice(error: OSError, results: Path) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, None}:  # numpy names no number for a short write
        return f"{results}: the disk is full; free some space and give the same command again, finished jobs are kept"
    return f"{results}: cannot be written ({error.strerror}); name another folder with --results"


def statuses(rows: pd.DataFrame) -> dict[str, Status]:
    """Key -> status of rows as `load` gives them."""
    return dict(zip(rows["key"], rows["status"], strict=True))


def set_aside(results: Path) -> list[str]:
    """Rename folders whose row cannot be read, so that their jobs run again; one sentence each."""
    _, broken = _read(results)
    return [_rename_broken(folder) for folder in broken]


def _rename_broken(folder: Path) -> str:
    free = (folder.with_name(f".broken-{folder.name}-{n}") for n in range(10**6))
    place = next(path for path in free if not path.exists())
    folder.rename(place)
    return f"{folder.name}: its row cannot be read; set aside as {place.name}, the job runs again"


def load(source: str | Path) -> pd.DataFrame:
    """One row per job, from a folder of results or a packed file; results/README.md explains the columns.

    A folder whose row cannot be read is named in a warning and left out.

    Raises:
        FileNotFoundError: there is no such file or folder.
        StoreError: the file is none that `pack` makes.
    """
    table, broken = _read(Path(source))
    for folder in broken:
        warnings.warn(f"{folder}: its row cannot be read; `bench run` sets it aside and runs it again", stacklevel=2)
    return identified(table.to_pandas())


def embeddings(results: Path, key: str) -> NDArray[np.float32]:
    """Stored test embeddings of a job, [queries + gallery, dim].

    Raises:
        FileNotFoundError: the job has none.
    """
    found: NDArray[np.float32] = np.load(results / key / "embeddings.npy", allow_pickle=False)
    return found


def training(results: Path, key: str) -> NDArray[np.float32]:
    """Stored embeddings of training images of a job, [images, dim]; of every job of a dataset the same images.

    Raises:
        FileNotFoundError: the job has none.
    """
    found: NDArray[np.float32] = np.load(results / key / "training.npy", allow_pickle=False)
    return found


def pack(results: Path, file: Path) -> int:
    """Every stored row, with its histories and queries, in one Parquet file; returns how many.

    Raises:
        FileNotFoundError: there is no such folder of results.
        StoreError: it is a file.
    """
    if results.is_file():
        raise StoreError(f"{results}: is a file, packed already; name a folder of results with --results")
    table, _ = _read(results)
    keys = table["key"].to_pylist()
    for name, kind in LOGS.items():
        lines = {key: part.drop(columns="key").to_dict("records") for key, part in log(results, name).groupby("key")}
        nested = pa.array([lines.get(key, []) for key in keys], pa.list_(pa.struct(kind.columns)))
        table = table.append_column(kind.packed, nested)
    for name, column in pack_queries(results, keys).items():
        table = table.append_column(name, column)
    table = table.sort_by("key")
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.draft")
    split = packed_encodings()
    columns = [name for name in table.column_names if not any(path.startswith(f"{name}.") for path in split)]
    pq.write_table(
        table, draft, compression="zstd", row_group_size=GROUP, column_encoding=split, use_dictionary=columns
    )
    os.replace(draft, file)
    return int(table.num_rows)


def _read(source: Path) -> tuple[pa.Table, list[Path]]:
    """All rows of a folder or a packed file, and the folders whose row cannot be read."""
    if source.is_file():
        _refuse_foreign(source)
        packed = {kind.packed for kind in LOGS.values()}
        names = [name for name in pq.read_schema(source).names if not name.startswith(PACKED)]
        return pq.read_table(source, columns=[name for name in names if name not in packed]), []
    folders = job_folders(source)
    with ThreadPoolExecutor() as threads:
        tables = list(threads.map(_row, folders))
    good = [table for table in tables if table is not None]
    broken = [folder for folder, table in zip(folders, tables, strict=True) if table is None]
    return pa.concat_tables(good, promote_options="default") if good else _EMPTY, broken


_EMPTY = pa.table({name: pa.array([], kind) for name, kind in types().items()})


def _refuse_foreign(file: Path) -> None:
    """See that a file is one that `pack` makes."""
    try:
        names = pq.read_schema(file).names
    except pa.ArrowException:
        raise StoreError(f"{file}: is no Parquet file; name a folder of results, or a file of `bench pack`") from None
    absent = [name for name in ESSENTIAL if name not in names]
    if absent:
        raise StoreError(f"{file}: has no column {absent[0]!r}; name a folder of results, or a file of `bench pack`")


def _row(folder: Path) -> pa.Table | None:
    try:
        table = pq.ParquetFile(folder / "row.parquet").read()
    except (OSError, pa.ArrowException):
        return None
    return table if set(table.column_names) >= set(ESSENTIAL) and table.num_rows == 1 else None


def _status(folder: Path) -> str | None:
    table = _row(folder)
    return None if table is None else table["status"][0].as_py()
