"""The row in a job's folder: whole, damaged, or there and not to be opened, which is no damage."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from bench.matrix.printable import without_control
from bench.store.column_checks import MisfitError, fitted, fitted_row, unsound
from bench.store.columns import role, types
from bench.store.job_folders import job_folders, only_row
from bench.store.row_cache import MARKS, Checked, gather
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
    """In the order of their folders' names, as they are stored, with the types that their columns ought to have."""
    damaged: Mapping[Path, str]
    """Folders of ours whose row is not what a job leaves, and why, as in "is empty"."""


def read_rows(results: Path) -> Rows:
    """All rows of a folder of results.

    Raises:
        FileNotFoundError: there is no such folder.
        StoreError: something of ours cannot be opened, so that nobody knows whether it is whole.
    """
    found = gather(results, job_folders(results), _row_or_damage, _checked)
    damaged = {folder: str(other) for folder, other in found.others.items() if isinstance(other, DamagedError)}
    return Rows(NONE if found.rows is None else found.rows, dict(sorted({**damaged, **found.wrong}.items())))


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
    if strange := [name for name in row.column_names if name in MARKS or "\n" in name]:
        raise DamagedError(f"has a column {strange[0]!r}, which no job writes")
    if row.num_rows != 1:
        raise DamagedError(f"holds {row.num_rows:,} rows instead of one")
    return row


def _checked(parts: Sequence[pa.Table], folders: Sequence[Path]) -> Checked:
    """The rows of these folders as one table, without those that no job leaves."""
    table, misfit = _together(parts)
    named = [number for number in range(len(folders)) if number not in misfit]
    foreign = _foreign(table, [folders[number] for number in named])
    wrong = {named[number]: why for number, why in foreign.items()}
    return Checked(
        table.filter(pa.array([number not in wrong for number in named])) if wrong else table, misfit | wrong
    )


def _together(parts: Sequence[pa.Table]) -> tuple[pa.Table, dict[int, str]]:
    """The rows as one table, and by number why others do not fit into it: then all are looked at singly."""
    try:
        return pa.concat_tables([fitted_row(part) for part in parts], promote_options="default"), {}
    except (pa.ArrowException, MisfitError):
        return _singly([part.slice(number, 1) for part in parts for number in range(len(part))])


def _singly(rows: Sequence[pa.Table]) -> tuple[pa.Table, dict[int, str]]:
    fitting, misfit, kinds = [NONE], dict[int, str](), _strange(rows)
    for number, row in enumerate(rows):
        try:
            fitting.append(fitted(fitted_row(row), kinds))
        except MisfitError as error:
            misfit[number] = str(error)
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
    others = ((number, without_control(str(key))) for number, key in keys if key != folders[number].name)
    elsewhere = {number: f"is that of another job, {key}" for number, key in others}
    return unsound(table) | elsewhere
