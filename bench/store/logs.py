"""What a job writes down epoch by epoch: its own course, and that of an ensemble's members."""

import os
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.store.columns import LOOKS
from bench.store.job_row import UNREADABLE
from bench.store.packed import read_packed, schema
from bench.store.places import StoreError, job_folders

__all__ = ["LOGS", "history", "log", "members"]


class Log(NamedTuple):
    """What a job writes of its course, a file of its own, and a column of lists when packed."""

    packed: str
    columns: pa.Schema


LOGS = {
    "history": Log(
        "history",
        pa.schema(
            {
                "epoch": pa.int64(),
                **dict.fromkeys(("loss", "rate", "seconds", *LOOKS), pa.float64()),
                "model": pa.int64(),
            }
        ),
    ),
    "members": Log(
        "member_history",
        pa.schema(
            {
                "epoch": pa.int64(),
                "member": pa.string(),
                **dict.fromkeys(("value", "weight", "running_mean"), pa.float64()),
                "model": pa.int64(),
            }
        ),
    ),
}
"""By the name of the file."""


def history(source: str | Path, *, keys: Collection[str] | None = None) -> pd.DataFrame:
    """One row per epoch of every job, or of those with these keys: key, epoch, loss, rate, seconds.

    Raises:
        FileNotFoundError: there is no such file or folder.
    """
    return log(Path(source), "history", keys=keys)


def members(source: str | Path, *, keys: Collection[str] | None = None) -> pd.DataFrame:
    """One row per epoch and member of every ensemble, or of those with these keys.

    Columns: key, epoch, member, value, weight, running_mean.

    Raises:
        FileNotFoundError: there is no such file or folder.
    """
    return log(Path(source), "members", keys=keys)


def log(source: Path, name: str, *, keys: Collection[str] | None = None) -> pd.DataFrame:
    """The lines of every job's log, or of those with these keys, and the key of the job."""
    columns = ["key", *LOGS[name].columns.names]
    if os.path.isfile(source):
        packed = LOGS[name].packed
        rows = read_packed(source, ["key", packed]).to_pylist() if _holds_log(source, packed) else []
        lines = [{"key": row["key"], **line} for row in rows if _among(row["key"], keys) for line in row[packed] or ()]
        frame = pd.DataFrame(lines, columns=columns)
    else:
        files = [folder / f"{name}.parquet" for folder in job_folders(source, keys=keys)]
        tables = [table for file in files if file.exists() and (table := _with_key(file))]
        joined = pa.concat_tables(tables, promote_options="default").combine_chunks() if tables else pa.table({})
        found = joined.to_pandas()
        frame = found.reindex(columns=columns)
    # Logs written before a job could train several models do not say which.
    return frame.assign(model=frame["model"].fillna(0).astype("int64"))


def _among(key: str, keys: Collection[str] | None) -> bool:
    return keys is None or key in keys


def _holds_log(source: Path, packed: str) -> bool:
    found = schema(source)
    if packed not in found.names:
        return False
    kind = found.field(packed).type
    if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
        return True
    raise StoreError(f"{source}: its column {packed!r} is not one of `bench pack`; name a folder of results")


def _with_key(file: Path) -> pa.Table | None:
    """A job's log, or None and a warning."""
    try:
        table = pq.ParquetFile(file, pre_buffer=False).read(use_threads=False)
    except UNREADABLE:
        warnings.warn(f"{file}: cannot be read and is left out; its job's row is not concerned", stacklevel=2)
        return None
    return table.append_column("key", pa.array([file.parent.name] * table.num_rows, pa.string()))
