"""Columns of a CSV or Parquet, as text."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from bench.datasets.split import DataError, reason
from bench.matrix.catalogue import did_you_mean

__all__ = ["Columns", "read_columns"]

SEPARATORS = ",;\t"

Columns = dict[str, list[str]]
"""Name -> a value a row, without the spaces around it."""


def read_columns(file: Path, needed: Sequence[str], optional: Sequence[str] = ()) -> Columns:
    """The columns of those names, one value a row; others are not looked at.

    Parquet where the name ends in .parquet or .pq. Everything else is CSV in UTF-8: the separator of comma, semicolon
    and tab is the one that parts the first line into needed columns; a byte order mark and empty lines are passed over.

    Raises:
        DataError: the file cannot be read, lacks a needed column, or has a row without a value there.
    """
    read = _parquet if file.suffix.lower() in {".parquet", ".pq"} else _csv
    columns = read(file, needed, optional)
    for name in needed:
        if empty := [number for number, value in enumerate(columns[name], 1) if not value]:
            raise DataError(f"{file} has {len(empty):,} row(s) without a {name}, such as row {empty[0]:,}: add it.")
    return columns


def _csv(file: Path, needed: Sequence[str], optional: Sequence[str]) -> Columns:
    try:
        text = file.read_text(encoding="utf-8-sig")
        separator = _separator(text.lstrip().partition("\n")[0], needed)
        header, *rows = _parted(text, separator) or [[]]
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8: save it in that encoding.") from error
    except (OSError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as CSV ({reason(error)}): write it again.") from error
    places = _places(file, header, needed, optional)
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise DataError(
                f"{file} has {len(row)} value(s) in row {number:,}, not {len(header)} as its first line: put values "
                f"that hold {separator!r} in quotes."
            )
    return {name: [row[place].strip() for row in rows] for name, place in places.items()}


def _separator(header: str, needed: Sequence[str]) -> str:
    def parted(separator: str) -> tuple[int, int]:
        names = [name.strip() for row in _parted(header, separator) for name in row]
        return len(set(names) & set(needed)), len(names)

    return max(SEPARATORS, key=parted)


def _parted(text: str, separator: str) -> list[list[str]]:
    rows = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    return [row for row in rows if any(map(str.strip, row))]


def _parquet(file: Path, needed: Sequence[str], optional: Sequence[str]) -> Columns:
    import pyarrow as pa  # slow to import, and a CSV needs none of it
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(file)
        places = _places(file, table.schema_arrow.names, needed, optional)
        texts = {name: table.read(columns=[name])[name].cast(pa.string()).to_pylist() for name in places}
    except (pa.ArrowException, OSError) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{file} cannot be read as Parquet with columns of text ({first}): write it again.") from error
    return {name: [(value or "").strip() for value in values] for name, values in texts.items()}


def _places(file: Path, header: Sequence[str], needed: Sequence[str], optional: Sequence[str]) -> dict[str, int]:
    """Name -> place of the columns asked for."""
    names = [name.strip() for name in header]
    for name in needed:
        if name not in names:
            every = ", ".join(needed)
            raise DataError(f"{file} needs the columns {every}, but has no {name!r}{did_you_mean(name, names)}")
    return {name: names.index(name) for name in (*needed, *optional) if name in names}
