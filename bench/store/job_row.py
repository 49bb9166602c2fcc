"""The row in a job's folder: whole, damaged, or there and not to be opened, which is no damage."""

import os
import stat
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from bench.store.columns import types
from bench.store.kept_rows import gather
from bench.store.places import StoreError, job_folders, unopened

__all__ = ["ESSENTIAL", "UNREADABLE", "DamagedError", "Rows", "read_row", "read_rows", "typed"]

ESSENTIAL = ("key", "dataset", "backbone", "objective", "kind", "seed", "recipe", "protocol", "status")
"""Columns that every row ever stored has."""
UNREADABLE = (OSError, pa.ArrowException, UnicodeDecodeError)
"""What reading a file of rows raises where it is damaged or not ours: the letters of its names may be."""


class Rows(NamedTuple):
    """What a folder of results holds."""

    whole: pa.Table | None
    """In the order of their folders' names; None where there are none."""
    damaged: list[Path]
    """Folders of ours whose row is not there, or no Parquet any more."""


class DamagedError(Exception):
    """A row is not there, or no Parquet any more."""


def read_rows(results: Path) -> Rows:
    """All rows of a folder of results.

    Raises:
        FileNotFoundError: there is no such folder.
        StoreError: something of ours cannot be opened, so that nobody knows whether it is whole; or the rows do not
            fit together.
    """
    try:
        found = gather(results, job_folders(results), _row_or_damage)
    except pa.ArrowException as error:
        raise StoreError(f"{results}: its rows do not fit together ({error}); name another folder") from error
    return Rows(found.rows, [folder for folder, other in found.others if isinstance(other, DamagedError)])


def read_row(folder: Path) -> pa.Table | None:
    """The row of a job; None where the folder is gone, or where the file is a Parquet of something else.

    Raises:
        DamagedError: it is not there, or no Parquet any more.
        StoreError: it cannot be opened.
    """
    file = folder / "row.parquet"
    try:
        content = _content(file)
    except FileNotFoundError:
        if not folder.exists():  # another run has just replaced it
            return None
        if file.is_symlink():
            raise StoreError(f"{file}: is a link to a file that is not there; fetch the file, or mend it") from None
        raise DamagedError from None
    except OSError as error:
        raise unopened(file, error) from error
    return _parsed(content, file)


def typed(table: pa.Table) -> pa.Table | None:
    """The table with the types that its essential columns ought to have; None where that cannot be."""
    if not set(table.column_names) >= set(ESSENTIAL):
        return None
    kinds = types()
    found = dict(zip(table.schema.names, table.schema.types, strict=True))
    if all(found[name] == kinds[name] for name in ESSENTIAL):
        return table
    try:
        for name in ESSENTIAL:
            table = table.set_column(table.column_names.index(name), name, table[name].cast(kinds[name]))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    return table


def _row_or_damage(folder: Path) -> pa.Table | DamagedError | None:
    try:
        return read_row(folder)
    except DamagedError as error:
        return error


def _content(file: Path) -> bytes:
    """Read before Arrow sees it: Arrow says OSError of a file that it cannot open and of one that is damaged."""
    if not stat.S_ISREG(os.stat(file).st_mode):
        raise OSError(0, "it is no ordinary file")
    return file.read_bytes()


def _parsed(content: bytes, file: Path) -> pa.Table | None:
    try:
        table = pq.ParquetFile(pa.BufferReader(content), pre_buffer=False).read(use_threads=False)
    except pa.ArrowNotImplementedError as error:
        raise StoreError(f"{file}: this version of pyarrow cannot read it ({error}); install a newer one") from error
    except UNREADABLE as error:
        raise DamagedError from error
    return typed(table) if table.num_rows == 1 else None
