"""All of a folder of results in one Parquet file, but for the embeddings."""

import errno
import os
import re
import secrets
import stat
import time
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.store.folder import rows_of
from bench.store.logs import LOGS, log
from bench.store.packed import schema
from bench.store.places import DAY, DRAFT, StoreError
from bench.store.queries import pack_queries, packed_encodings

__all__ = ["pack", "refuse_foreign"]

GROUP = 32
"""Jobs per row group of a packed file: as many are read where one is asked for."""


def pack(results: Path, file: Path, *, queries: bool = True) -> int:
    """Every stored row, with its histories and queries, in one Parquet file; returns how many.

    A row that is damaged is named in a warning and left out. Without any row, no file is written. Without `queries` the
    file is small, and knows nothing of single queries.

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
        _write(_whole(table, results, queries=queries), file)
    except StoreError:
        raise
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, None}
        advice = "the disk is full; free some space" if full else f"cannot be written ({error.strerror})"
        raise StoreError(f"{file}: {advice}, or name another file") from error
    return int(table.num_rows)


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
        lines = {key: part.drop(columns="key").to_dict("records") for key, part in log(results, name).groupby("key")}
        nested = pa.array([lines.get(key, []) for key in keys], pa.list_(pa.struct(kind.columns)))
        table = table.append_column(kind.packed, nested)
    for name, column in (pack_queries(results, keys) if queries else {}).items():
        table = table.append_column(name, column)
    return table.sort_by("key")


def _write(table: pa.Table, file: Path) -> None:
    """Write beside the place, then rename: a reader sees the old file or the new one, never half of one."""
    split = packed_encodings()
    columns = [name for name in table.column_names if not any(path.startswith(f"{name}.") for path in split)]
    file.parent.mkdir(parents=True, exist_ok=True)
    _sweep(file.parent)
    draft = file.with_name(f"{DRAFT}{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as opened:
            pq.write_table(
                table, opened, compression="zstd", row_group_size=GROUP, column_encoding=split, use_dictionary=columns
            )
        os.replace(draft, file)
    finally:
        draft.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove files that killed commands left here: a day old, of a draft's name, and empty or begun as Parquet."""
    for draft in folder.glob(f"{DRAFT}*"):
        with suppress(OSError):  # another command has just removed it, or it is another user's
            found = draft.lstat()
            ours = re.fullmatch("[0-9a-f]{8}", draft.name.removeprefix(DRAFT)) and stat.S_ISREG(found.st_mode)
            if ours and time.time() - found.st_mtime > DAY and _beginning(draft) in (b"", b"PAR1"):
                draft.unlink()


def _beginning(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(4)
