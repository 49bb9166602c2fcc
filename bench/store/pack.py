"""All of a folder of results in one Parquet file, but for the embeddings."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from bench.store.folder import rows_of
from bench.store.job_folders import StoreError
from bench.store.logs import LOGS, log
from bench.store.packed_file import read_packed, schema
from bench.store.queries import PACKED, pack_queries, packed_encodings
from bench.store.whole_file import write_whole

__all__ = ["pack", "refuse_foreign"]

GROUP = 32
"""Jobs per row group of a packed file: as many are read where one is asked for."""


def pack(results: Path, file: Path, *, queries: bool = True, others: Sequence[Path] = ()) -> int:
    """Every stored row, with its histories and queries, in one Parquet file; returns how many.

    A row that is damaged is named in a warning and left out. Without any row, no file is written. Without `queries` the
    file is small, and knows nothing of single queries. Rows of `others`, packed files, are added; where two have the
    same key, that of the folder stays, or of the file that is named first.

    Raises:
        FileNotFoundError: there is no such folder of results.
        StoreError: it is a file, a row cannot be opened, or `file` cannot be written or is not one of `pack`.
    """
    if os.path.isfile(results):
        schema(results)
        raise StoreError(f"{results}: is a file, packed already; name a folder of results with --results")
    table = rows_of(results)
    if not table.num_rows:
        return 0
    try:
        refuse_foreign(file)
        whole = _whole(table, results, queries=queries)
        for other in others:
            whole = _with(whole, other, queries=queries)
        _write(whole.sort_by("key"), file)
    except StoreError:
        raise
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, None}
        advice = "the disk is full; free some space" if full else f"cannot be written ({error.strerror})"
        raise StoreError(f"{file}: {advice}, or name another file") from error
    return int(whole.num_rows)


def refuse_foreign(file: Path) -> None:
    """See that nothing is overwritten but what `pack` made before; in an empty file there is nothing to lose.

    Raises:
        StoreError: there is something else in its place.
    """
    if file.is_dir():
        raise StoreError(f"{file}: is a folder; name a file to write, for example {file / 'packed.parquet'}")
    if not os.path.lexists(file) or (file.is_file() and not file.stat().st_size):
        return
    try:
        ours = file.is_file() and LOGS["history"].packed in schema(file).names
    except StoreError:
        ours = False
    if not ours:
        raise StoreError(f"{file}: is there already and was not made by `bench pack`; name another file")


def _whole(table: pa.Table, results: Path, *, queries: bool) -> pa.Table:
    """The rows with what lies beside them: logs, and queries where they are wanted."""
    keys = table["key"].to_pylist()
    for name, kind in LOGS.items():
        table = table.append_column(kind.packed, _nested(log(results, name), keys, kind.columns))
    for name, column in (pack_queries(results, keys) if queries else {}).items():
        table = table.append_column(name, column)
    return table


def _with(whole: pa.Table, other: Path, *, queries: bool) -> pa.Table:
    """All these rows, and those of a packed file that are not among them."""
    names = [name for name in schema(other).names if queries or not name.startswith(PACKED)]
    more = read_packed(other, names)
    new = pc.invert(pc.is_in(more["key"], value_set=whole["key"].combine_chunks()))
    return pa.concat_tables([whole, more.filter(new)], promote_options="permissive")


def _nested(lines: pd.DataFrame, keys: Sequence[str], columns: pa.Schema) -> pa.Array:
    """For each of the jobs `keys` the list of its lines, in their order; empty where it has none."""
    places = lines["key"].map({key: place for place, key in enumerate(keys)})
    ordered = lines.assign(place=places).dropna(subset="place").sort_values("place", kind="stable")
    counts = np.bincount(ordered["place"].to_numpy(np.intp), minlength=len(keys))
    fields = [pa.array(ordered[field.name].to_numpy(), field.type) for field in columns]
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(fields, fields=list(columns)))


def _write(table: pa.Table, file: Path) -> None:
    split = packed_encodings()
    columns = [name for name in table.column_names if not any(path.startswith(f"{name}.") for path in split)]
    write_whole(table, file, row_group_size=GROUP, column_encoding=split, use_dictionary=columns)
