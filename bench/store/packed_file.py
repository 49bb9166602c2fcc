"""One Parquet file of all rows, as `bench pack` makes it: read in parts, and refused where it is something else."""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.store.column_checks import ESSENTIAL, MisfitError, fitted_row
from bench.store.job_folders import StoreError, unopened
from bench.store.stored_file import UNREADABLE

__all__ = ["read_packed", "schema"]

ADVICE = "name a folder of results, or a file of `bench pack`"


def schema(file: Path) -> pa.Schema:
    """The columns of a file of rows and their types.

    Raises:
        StoreError: it cannot be opened, is no Parquet file, or lacks a column that every row has.
    """
    try:
        state = file.stat()
        found = _parsed(file, state.st_mtime_ns, state.st_size)
    except UNREADABLE as error:
        raise _refusal(file, error) from error
    if absent := [name for name in ESSENTIAL if name not in found.names]:
        raise StoreError(f"{file}: has no column {absent[0]!r}; {ADVICE}")
    if double := [name for name in found.names if found.names.count(name) > 1]:
        raise StoreError(f"{file}: has two columns {double[0]!r}; {ADVICE}")
    return found


@lru_cache(maxsize=8)
def _parsed(file: Path, _time: int, _size: int) -> pa.Schema:
    """Of a file as it was at that time: it is parsed once for who reads one job after the other."""
    with file.open("rb") as opened:
        return pq.ParquetFile(opened).schema_arrow


def read_packed(file: Path, columns: Sequence[str], *, key: str | None = None) -> pa.Table:
    """These columns of all rows, or of the row with this key.

    Raises:
        StoreError: as `schema`, or a column holds something else.
    """
    schema(file)
    options: dict[str, Any] = {} if key is None else {"filters": [("key", "==", key)]}
    try:
        table = pq.read_table(file, columns=list(columns), partitioning=None, **options)
    except UNREADABLE as error:
        raise _refusal(file, error) from error
    if not set(columns) >= set(ESSENTIAL):
        return table
    try:
        return fitted_row(table)
    except MisfitError as error:
        raise StoreError(f"{file}: {error}; {ADVICE}") from error


def _refusal(file: Path, error: Exception) -> StoreError:
    """Python's own errors have a number, those of Arrow about the content have none."""
    if isinstance(error, OSError) and error.errno:
        return unopened(file, error)
    if os.path.getsize(file) and _begins_as_parquet(file):
        return StoreError(f"{file}: is damaged; pack the results again, or name a folder of results")
    return StoreError(f"{file}: is no Parquet file; {ADVICE}")


def _begins_as_parquet(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(4) == b"PAR1"
