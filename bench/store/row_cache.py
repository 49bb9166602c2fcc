"""Rows that were read before, in one file beside them: thousands of small files are slow to parse again and again.

The truth stays in KEY/row.parquet. A kept row counts only while that file is the very same one, by its number, size and
time of change. The file of kept rows may be missing, old or damaged, and may be deleted at any time. Commands that
write it at the same time do not disturb each other: each writes a whole file, and each is right. Rows that nobody has
read yet are taken from the lines of store/row_journal.py, by the same rule.
"""

import math
import os
import stat
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.store.row import rows_table
from bench.store.row_journal import forget_noted, noted
from bench.store.stored_file import UNREADABLE, DamagedError, content
from bench.store.whole_file import write_whole

__all__ = ["KEPT", "MARKS", "Checked", "Gathered", "gather", "stamp"]

KEPT = ".lossbench-rows"
"""The name of the file."""
LAYOUT = {b"lossbench rows": b"2"}
"""Its mark. The number is raised when a row is checked for more than before, so that all are checked again."""
MANY = 200
"""So many rows, and a tenth of those in the file, have to be new before it is written anew."""
AT_A_TIME = 1000
"""Rows that are read from files of their own before they become one table: a table of one row takes 70 KB."""
SETTLED = 2.0
"""Seconds: a younger file may still change within the resolution of its time of change."""
STAMP, COLUMNS = "kept: file", "kept: columns"
"""What the file has beside the columns of rows: which file a row is from, and which columns that one has."""
MARKS = {STAMP, COLUMNS}
NONE = pa.table({STAMP: pa.array([], pa.string()), COLUMNS: pa.array([], pa.string())})


class Checked(NamedTuple):
    """What is to be believed of some rows."""

    rows: pa.Table
    """In their order, without the wrong ones."""
    wrong: Mapping[int, str]
    """By number, why."""


class Gathered(NamedTuple):
    """What was read of some folders."""

    rows: pa.Table | None
    """In the order of the folders; None where there is no row."""
    others: Mapping[Path, object]
    """The folders without a row, and what was read instead."""
    wrong: Mapping[Path, str]
    """The folders whose row is not to be believed, and why."""


Read = Callable[[Path], object]
Check = Callable[[Sequence[pa.Table], Sequence[Path]], Checked]


def gather(results: Path, folders: Sequence[Path], read: Read, check: Check) -> Gathered:
    """The rows of these folders of jobs; only those are read that are not kept.

    Args:
        results: where the folders are, and the file of kept rows.
        folders: of jobs.
        read: gives the row of a folder, or whatever else is to be told of it.
        check: given all rows, in a few tables, and their folders, says which rows are sound.
    """
    kept = _kept(results)
    known = frozenset(kept[STAMP].to_pylist())
    return _gathered(_with_noted(kept, results), known, results, folders, read, check)


def _gathered(
    kept: pa.Table, known: Collection[str], results: Path, folders: Sequence[Path], read: Read, check: Check
) -> Gathered:
    """The same, with these rows `kept`, some `known` to be in the file; all are read if one of them is wrong."""
    settled = time.time() - SETTLED
    places = {mark: place for place, mark in enumerate(kept[STAMP].to_pylist())}
    stamps = [stamp(folder, until=settled) for folder in folders]
    old = [number for number, mark in enumerate(stamps) if mark in places]
    new = [number for number, mark in enumerate(stamps) if mark not in places]
    parts = [kept.take(pa.array([places[stamps[number] or ""] for number in old], pa.int64()))] if old else []
    numbers, others = [*old], dict[Path, object]()
    for start in range(0, len(new), AT_A_TIME):
        some = new[start : start + AT_A_TIME]
        with ThreadPoolExecutor() as threads:
            read_now = dict(zip(some, threads.map(read, [folders[number] for number in some]), strict=True))
        fresh = {number: row for number, row in read_now.items() if isinstance(row, pa.Table)}
        others |= {folders[number]: row for number, row in read_now.items() if number not in fresh}
        for group in _by_columns(fresh):
            parts.append(_marked([fresh[number] for number in group], [stamps[number] for number in group]))
            numbers += group
    if not parts:
        return Gathered(None, others, {})
    found, bad = check(parts, [folders[number] for number in numbers])
    if any(at < len(old) for at in bad):
        return _gathered(NONE, (), results, folders, read, check)
    sound = [number for at, number in enumerate(numbers) if at not in bad]
    rows = found.take(np.argsort(sound))
    new_ones = sum(stamps[number] is not None and stamps[number] not in known for number in sound)
    if new_ones >= max(MANY, len(known) // 10):
        _keep(rows, results / KEPT)
    return Gathered(_unmarked(rows) if sound else None, others, {folders[numbers[at]]: why for at, why in bad.items()})


def _kept(results: Path) -> pa.Table:
    """The rows in the file; none where it is not there, or not whole, or of another layout."""
    try:
        file = pq.ParquetFile(pa.BufferReader(content(results / KEPT)), page_checksum_verification=True)
        if LAYOUT.items() <= (file.schema_arrow.metadata or {}).items():
            found = file.read(use_threads=False).replace_schema_metadata(None)  # to start threads takes longer
            found.validate(full=True)
            if _is_marked(found):
                return found
    except (DamagedError, *UNREADABLE):
        pass
    return NONE


def _is_marked(rows: pa.Table) -> bool:
    """Does every row say which file it is from, and which of the columns that one has?"""
    there = set(rows.column_names)
    if len(there) < rows.num_columns or not there >= MARKS:
        return False
    if any(rows[name].type != pa.string() or rows[name].null_count for name in MARKS):
        return False
    return _names(rows).keys() <= there


def _keep(rows: pa.Table, file: Path) -> None:
    """Write the rows of settled files; a folder that cannot be written goes without."""
    settled = rows.filter(rows[STAMP].is_valid()).replace_schema_metadata(LAYOUT)
    with suppress(OSError):
        write_whole(settled, file, write_page_checksum=True)
        forget_noted(file.parent, frozenset(settled[STAMP].to_pylist()))


def _with_noted(kept: pa.Table, results: Path) -> pa.Table:
    """The kept rows, and those that are noted, as far as they are rows of jobs."""
    groups: dict[tuple[str, ...], list[tuple[str, dict[str, Any]]]] = {}
    for one, row in noted(results).items():
        groups.setdefault(tuple(row), []).append((one, row))
    try:
        new = [_marked([rows_table([row for _, row in some])], [one for one, _ in some]) for some in groups.values()]
        both = pa.concat_tables([kept, *new], promote_options="default")
    except (pa.ArrowException, ValueError, TypeError, IndexError):  # not what a job notes
        return kept
    return both if _is_marked(both) else kept


def stamp(folder: Path, *, until: float = math.inf) -> str | None:
    """What tells the file of a row from any other one; None where it is not there, or was changed after `until`."""
    try:
        found = os.stat(f"{folder}/row.parquet")
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode) or found.st_ctime > until:
        return None
    return f"{folder.name}/{found.st_ino}/{found.st_size}/{found.st_ctime_ns}"


def _by_columns(rows: dict[int, pa.Table]) -> list[list[int]]:
    """The numbers of rows with the same columns together: thousands of tables are slow to unite one by one."""
    groups: dict[bytes, list[int]] = {}
    for number, row in rows.items():
        groups.setdefault(row.schema.serialize().to_pybytes(), []).append(number)
    return list(groups.values())


def _marked(tables: Sequence[pa.Table], stamps: Sequence[str | None]) -> pa.Table:
    """Tables with the same columns as one table that says which file each row is from."""
    columns = "\n".join(tables[0].column_names)
    joined = pa.concat_tables(tables).combine_chunks()
    marked = joined.append_column(STAMP, pa.array(stamps, pa.string()))
    return marked.append_column(COLUMNS, pa.array([columns] * len(stamps), pa.string()))


def _unmarked(rows: pa.Table) -> pa.Table:
    """Only the columns that one of these rows has: a kept file may know more."""
    return rows.select(list(_names(rows)))


def _names(rows: pa.Table) -> dict[str, None]:
    return dict.fromkeys(name for names in rows[COLUMNS].unique().to_pylist() for name in names.split("\n"))
