"""The row in a job's folder: whole, damaged, or there and not to be opened, which is no damage."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from bench.store.columns import role, types
from bench.store.places import job_folders, only_row
from bench.store.sound import MisfitError, fitted, fitted_row, unsound
from bench.store.stored_file import DamagedError, content, parsed

__all__ = ["NONE", "DamagedError", "Rows", "read_row", "read_rows"]

LARGEST = 2**26
"""Bytes: no row is nearly as large."""
OURS = {"key", "status", "protocol"}
"""What tells a row from a Parquet file of something else."""
NONE = pa.table({name: pa.array([], kind) for name, kind in types().items()})
"""No rows, with their columns."""


class Rows(NamedTuple):
    """What a folder of results holds."""

    whole: pa.Table
    """Rows as they are stored, with the types that their columns ought to have."""
    damaged: Mapping[Path, str]
    """Folders of ours whose row is not what a job leaves, and why, as in "is empty"."""


def read_rows(results: Path) -> Rows:
    """All rows of a folder of results.

    Raises:
        FileNotFoundError: there is no such folder.
        StoreError: something of ours cannot be opened, so that nobody knows whether it is whole.
    """
    folders = job_folders(results)
    with ThreadPoolExecutor() as threads:
        found = dict(zip(folders, threads.map(_row_or_damage, folders), strict=True))
    damaged = {folder: str(row) for folder, row in found.items() if isinstance(row, DamagedError)}
    rows = {folder: row for folder, row in found.items() if isinstance(row, pa.Table)}
    table, misfit = _together(rows)
    named = [folder for folder in rows if folder not in misfit]
    wrong = {named[number]: why for number, why in _foreign(table, named).items()}
    sound = table.filter(pa.array([folder not in wrong for folder in named])) if wrong else table
    return Rows(sound, dict(sorted((damaged | misfit | wrong).items())))


def read_row(folder: Path) -> pa.Table | None:
    """The row of a job; None where the folder is gone, or where the file is a Parquet of something else.

    Raises:
        DamagedError: it is not there, or not what a job leaves.
        StoreError: it cannot be opened.
    """
    row = _read(folder)
    if row is None:
        return None
    try:
        row = fitted_row(row)
    except MisfitError as error:
        raise DamagedError(str(error)) from error
    if wrong := _foreign(row, [folder]):
        raise DamagedError(wrong[0])
    return row


def _row_or_damage(folder: Path) -> pa.Table | DamagedError | None:
    try:
        return _read(folder)
    except DamagedError as error:
        return error


def _read(folder: Path) -> pa.Table | None:
    file = folder / "row.parquet"
    try:
        row = parsed(content(file, most=LARGEST), file)
    except FileNotFoundError:
        if not folder.exists():  # another run has just replaced it
            return None
        raise DamagedError("is not there") from None
    if not set(row.column_names) >= OURS:
        if only_row(folder):
            return None
        raise DamagedError("is a Parquet file of something else")
    if row.num_rows != 1:
        raise DamagedError(f"holds {row.num_rows:,} rows instead of one")
    return row


def _together(rows: Mapping[Path, pa.Table]) -> tuple[pa.Table, dict[Path, str]]:
    """The rows as one table; and those that do not fit into it, with why. They are looked at singly if one does not."""
    try:
        whole = fitted_row(pa.concat_tables(rows.values(), promote_options="default")) if rows else NONE
    except (pa.ArrowException, MisfitError):
        return _singly(rows)
    return whole, {}


def _singly(rows: Mapping[Path, pa.Table]) -> tuple[pa.Table, dict[Path, str]]:
    fitting, misfit, kinds = [NONE], dict[Path, str](), _strange(rows.values())
    for folder, row in rows.items():
        try:
            fitting.append(fitted(fitted_row(row), kinds))
        except MisfitError as error:
            misfit[folder] = str(error)
    return pa.concat_tables(fitting, promote_options="default"), misfit


def _strange(rows: Iterable[pa.Table]) -> dict[str, pa.DataType]:
    """The types of columns that nobody here knows: numbers if any row has a number there, else the first one's."""
    found: dict[str, pa.DataType] = {}
    fields = [field for row in rows for field in row.schema if not pa.types.is_null(field.type)]
    for name, kind in ((field.name, field.type) for field in fields if role(field.name) is None):
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        found[name] = pa.float64() if number else found.get(name, kind)
    return found


def _foreign(table: pa.Table, folders: Sequence[Path]) -> dict[int, str]:
    """By number the rows that no job leaves in its folder, and why."""
    keys = enumerate(table["key"].to_pylist())
    elsewhere = {number: f"is that of another job, {key}" for number, key in keys if key != folders[number].name}
    return unsound(table) | elsewhere
