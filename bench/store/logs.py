"""What a job writes down epoch by epoch: its own course, and that of an ensemble's members."""

import os
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from bench.store.column_checks import MisfitError, fitted
from bench.store.columns import LOOKS
from bench.store.job_folders import StoreError, job_folders
from bench.store.packed_file import read_packed, schema
from bench.store.stored_file import DamagedError, content, parsed

__all__ = ["LOGS", "history", "log", "members", "read_log"]


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
    """The lines of every job's log, or of those with these keys, and the key of the job.

    A file that is damaged is named in a warning and left out.

    Raises:
        FileNotFoundError: there is no such file or folder.
        StoreError: the file is none that `pack` makes.
    """
    kinds = LOGS[name].columns
    tables = [_packed(source, name, keys)] if os.path.isfile(source) else _logs(source, name, keys)
    empty = pa.schema({"key": pa.string(), **dict(zip(kinds.names, kinds.types, strict=True))}).empty_table()
    joined = pa.concat_tables([empty, *tables], promote_options="default").combine_chunks()
    frame: pd.DataFrame = joined.to_pandas()
    # Logs written before a job could train several models do not say which.
    return frame.assign(model=frame["model"].fillna(0).astype("int64"))


def read_log(file: Path) -> pa.Table:
    """One job's log, without columns that nobody here knows.

    Raises:
        FileNotFoundError: nothing is there.
        StoreError: it cannot be opened, or is no ordinary file, which is no damage.
        DamagedError: it is not what a job leaves.
    """
    kinds = LOGS[file.stem].columns
    return _lines(parsed(content(file), file, only=kinds.names), kinds)


def _lines(table: pa.Table, kinds: pa.Schema) -> pa.Table:
    names = [name for name in kinds.names if name in table.column_names]
    try:
        found = fitted(table.select(names), dict(zip(kinds.names, kinds.types, strict=True)))
    except MisfitError as error:
        raise DamagedError(str(error)) from error
    for name in ("epoch", "member"):
        if name in kinds.names and (name not in names or found[name].null_count):
            raise DamagedError(f"has no value in its column {name!r}")
    if found.num_rows and pc.min(found["epoch"]).as_py() < 0:
        raise DamagedError("has an epoch below 0")
    return found


def _logs(results: Path, name: str, keys: Collection[str] | None) -> Iterator[pa.Table]:
    """Every wanted job's log that can be read."""
    for file in [folder / f"{name}.parquet" for folder in job_folders(results, keys=keys)]:
        try:
            table = read_log(file)
        except FileNotFoundError:
            continue
        except StoreError as error:
            warnings.warn(f"{error}; it is left out", stacklevel=4)
        except DamagedError as error:
            warnings.warn(f"{file}: {error}; it is left out, its job's row is not", stacklevel=4)
        else:
            yield table.append_column("key", pa.array([file.parent.name] * table.num_rows, pa.string()))


def _packed(source: Path, name: str, keys: Collection[str] | None) -> pa.Table:
    """All wanted logs of a packed file; no lines where it was packed before there were such logs."""
    packed, kinds = LOGS[name]
    if packed not in schema(source).names:
        return pa.table({})
    try:
        rows = read_packed(source, ["key", packed])
        if keys is not None:
            rows = rows.filter(pc.is_in(rows["key"], pa.array(list(keys), pa.string())))
        column = rows[packed].combine_chunks()
        inside = pc.list_flatten(column)
        lines = _lines(pa.Table.from_arrays(inside.flatten(), [field.name for field in inside.type]), kinds)
        owners = rows["key"].combine_chunks().take(pc.list_parent_indices(column))
        return lines.append_column("key", owners.cast(pa.string()))
    except (DamagedError, pa.ArrowException, AttributeError) as error:  # the last of what is no list of structs
        what = "is not one of `bench pack`; name a folder of results"
        raise StoreError(f"{source}: its column {packed!r} {what}") from error
