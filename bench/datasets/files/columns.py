"""Columns of a CSV or Parquet, as text."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from bench.datasets.files.file_kinds import PARQUET
from bench.datasets.files.text_file import read_text
from bench.datasets.split import DataError, reason
from bench.matrix.catalogue import did_you_mean

__all__ = ["Columns", "one_per_label", "read_columns"]

SEPARATORS = ",;\t|"
STATED = re.compile(r'\s*"?sep=(.)"?[^\S\r\n]*(\r\n?|\n|$)', re.IGNORECASE)
"""The first line of Excel that names the separator."""

Columns = dict[str, list[str]]
"""Name -> one value per row, without the spaces around it."""


def read_columns(file: Path, needed: Sequence[str], optional: Sequence[str] = ()) -> Columns:
    """The columns of those names, one value per row; others are not looked at.

    Parquet where the name ends in .parquet or .pq. Everything else is CSV: the separator is the one that a line such as
    "sep=;" states, else that of comma, semicolon, tab and bar which parts the first line into needed columns. Encodings
    are those of `read_text`; empty lines are passed over. Names are found in any case, first as asked for.

    Raises:
        DataError: the file cannot be read, lacks a needed column, has a name twice, or a row without a needed value.
    """
    read = _parquet if file.suffix.lower() in PARQUET else _csv
    columns = read(file, needed, optional)
    for name in needed:
        if empty := [number for number, value in enumerate(columns[name], 1) if not value]:
            raise DataError(f"{file} has {len(empty):,} row(s) without a {name}, such as row {empty[0]:,}: add it.")
    return columns


def one_per_label(file: Path, labels: Sequence[str], values: Sequence[str], *, column: str) -> dict[str, str]:
    """Label -> what a column says of it; labels of which it says nothing are left out.

    Raises:
        DataError: it says two things of one label.
    """
    found: dict[str, str] = {}
    for label, value in zip(labels, values, strict=True):
        if value and found.setdefault(label, value) != value:
            raise DataError(
                f"{file} has more than one {column} for the label {label!r}, {found[label]!r} and {value!r}: give all "
                "its rows the same."
            )
    return found


def _csv(file: Path, needed: Sequence[str], optional: Sequence[str]) -> Columns:
    text = read_text(file).text
    try:
        stated = STATED.match(text)
        body = text[stated.end() :] if stated else text
        separator = stated[1] if stated else max(SEPARATORS, key=lambda one: _fit(body, one, needed))
        first, second = (*islice(_parted(body, separator, strict=False), 2), [], [])[:2]
        places = _places(file, first, needed, optional, second=second)
        header, *rows = list(_parted(body, separator)) or [[]]
    except csv.Error as error:
        raise DataError(f"{file} cannot be read as CSV ({reason(error)}): write it again.") from error
    _verify_lengths(file, header, rows, separator)
    return {name: [row[place].strip() for row in rows] for name, place in places.items()}


def _fit(text: str, separator: str, needed: Sequence[str]) -> tuple[int, int]:
    """How many needed columns, and how many at all, the first line has with this separator."""
    try:
        names = [name.strip().lower() for name in next(_parted(text, separator, strict=False), [])]
    except csv.Error:
        return 0, 0
    return len(set(names) & set(needed)), len(names)


def _parted(text: str, separator: str, *, strict: bool = True) -> Iterator[list[str]]:
    spaces = separator != " "
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=strict, skipinitialspace=spaces)
    return (row for row in rows if any(map(str.strip, row)))


def _verify_lengths(file: Path, header: Sequence[str], rows: Sequence[list[str]], separator: str) -> None:
    """Every row has a value per column; one empty value more, which a separator at the end of lines makes, may be."""
    lengths = {len(row) for row in rows}
    if lengths == {len(header) + 1} and not any(row[-1].strip() for row in rows):
        return
    if lengths == {len(header) + 1} and [row[0] for row in rows] == [str(number + 1) for number in range(len(rows))]:
        raise DataError(
            f"{file} has {len(header) + 1} values in every row, but {len(header)} names in its first line: name the "
            "column that has none (R: write.csv, or row.names = FALSE)."
        )
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise DataError(
                f"{file} has {len(row)} value(s) in row {number:,}, not {len(header)} as its first line: put values "
                f"that hold {separator!r} in quotes."
            )


def _parquet(file: Path, needed: Sequence[str], optional: Sequence[str]) -> Columns:
    import pyarrow as pa  # slow to import, and a CSV needs none of it
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(file)
        places = _places(file, table.schema_arrow.names, needed, optional)
        stored = {name: table.schema_arrow.names[place] for name, place in places.items()}
        columns = {name: table.read(columns=[own])[own].cast(pa.string()) for name, own in stored.items()}
        for column in columns.values():
            column.validate(full=True)  # the letters of a damaged file
        texts = {name: column.to_pylist() for name, column in columns.items()}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{file} cannot be read as Parquet with columns of text ({first}): write it again.") from error
    return {name: [(value or "").strip() for value in values] for name, values in texts.items()}


def _places(
    file: Path, header: Sequence[str], needed: Sequence[str], optional: Sequence[str], *, second: Sequence[str] = ()
) -> dict[str, int]:
    """Name -> place of the columns asked for; `second` is the line after the header, to know an index by."""
    names = _in_lower_case([name.strip() for name in header], (*needed, *optional))
    for name in (*needed, *optional):
        if names.count(name) > 1:
            raise DataError(f"{file} has {names.count(name)} columns called {name!r}: keep one, or rename the others.")
    missing = [name for name in needed if name not in names]
    if missing:
        index = {place for place, value in enumerate(second, 1) if value.strip() in ("0", "1")}
        unnamed = [place for place, name in enumerate(names, 1) if not name or name.startswith("Unnamed: ")]
        unnamed = [place for place in unnamed if place not in index]
        hint = f"; column {unnamed[0]} has no name, perhaps it is this one" if unnamed and len(missing) == 1 else ""
        raise DataError(
            f"{file} needs the columns {', '.join(needed)}, but has no {missing[0]!r}"
            f"{hint or did_you_mean(missing[0], filter(None, names))}"
        )
    return {name: names.index(name) for name in (*needed, *optional) if name in names}


def _in_lower_case(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The names, where a wanted one is there in other letters alone, "Path" for "path", as it is wanted."""
    return [name.lower() if name.lower() in wanted and name.lower() not in names else name for name in names]
