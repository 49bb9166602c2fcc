"""What is stored of every query: its class, its first hit, its value under each metric, its nearest neighbours.

KEY/queries.parquet has one row per query: class, first_hit, neighbours and distances (lists), and a column per metric.
A packed file has one row per job, and each of these columns as a list, its name after "query_".
"""

import os
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.matrix.job import ConfigError
from bench.store.job_folders import StoreError
from bench.store.packed_file import read_packed, schema
from bench.store.stored_file import UNREADABLE, DamagedError, content, parsed

__all__ = [
    "PACKED",
    "Queries",
    "look_at",
    "pack_queries",
    "packed_encodings",
    "read_queries",
    "stored_count",
    "stored_queries",
    "write_queries",
]

PACKED = "query_"
"""How the columns of a packed file begin that hold values of queries."""
SAMPLE = 500
"""Queries whose neighbours are packed, at most: every n-th, of every job on a dataset the same."""
LARGEST = 2**27
"""More than the rank of any hit, and than the number of any class."""
OWN = ("class", "first_hit", "neighbours", "distances")


class Queries(NamedTuple):
    """What is known of each of Q queries."""

    classes: NDArray[np.int64] | None
    """[Q]: the number of its class in the split; None where it was stored before classes were."""
    first_hit: NDArray[np.int32]
    """[Q]: rank, from 1, of its first hit; 0 where none was found as deep as was searched. Recall@K is the share with a
    rank from 1 to K."""
    values: Mapping[str, NDArray[np.float64]]
    """Metric -> [Q], of every metric that has a value per query and takes no K; NaN where there is nothing to find."""
    neighbours: NDArray[np.int32] | None
    """[Q, 10]: its nearest rows of the gallery, or of the queries, nearest first; fewer columns where there are fewer
    candidates. -1 where a packed file leaves them out; None where none were stored."""
    distances: NDArray[np.float32] | None
    """[Q, 10]: their distances, NaN where a packed file leaves them out; None for an order without distances,
    such as a rank fusion. Exact to single precision in a folder, to 5e-4 of themselves in a packed file."""


def write_queries(found: Queries, file: Path) -> None:
    """Write one job's queries as a Parquet file."""
    lists = {"neighbours": found.neighbours, "distances": found.distances}
    columns = {"class": found.classes, "first_hit": found.first_hit, **found.values}
    arrays = {name: pa.array(column) for name, column in columns.items() if column is not None}
    arrays |= {name: _nested(rows) for name, rows in lists.items() if rows is not None}
    pq.write_table(pa.table(arrays), file, compression="zstd")


def read_queries(source: str | Path, key: str, *, only: Collection[str] | None = None) -> Queries:
    """The queries of one job, from a folder of results or a packed file.

    With `only`, class and first hit are read, and of the other columns these: faster where most are not needed.

    Raises:
        FileNotFoundError: the job, or its queries, are not there.
        StoreError: it is a file, and none that `pack` makes.
        ConfigError: the queries are damaged, or cannot be opened.
    """
    source = Path(source)
    if os.path.isfile(source):
        stored = [name for name in schema(source).names if name.startswith(PACKED)]
        names = [name for name in stored if _wanted(name.removeprefix(PACKED), only)]
        rows = read_packed(source, names, key=key) if f"{PACKED}first_hit" in names else pa.table({})
        if not rows.num_rows or not rows[f"{PACKED}first_hit"][0].is_valid:
            raise FileNotFoundError(f"{source} holds no queries of the job {key}")
        try:
            return _unpacked({name.removeprefix(PACKED): rows[name][0] for name in names})
        except DamagedError as error:
            raise ConfigError(f"{source}: its queries of {key} are not those of `bench pack` ({error})") from error
    file = source / key / "queries.parquet"
    try:
        return stored_queries(file, only=only)
    except StoreError as error:
        raise ConfigError(str(error)) from error
    except DamagedError as error:
        raise ConfigError(f"{file}: {error}; `bench run` runs its job again") from error


def stored_queries(file: Path, *, only: Collection[str] | None = None) -> Queries:
    """The queries in the file of one job.

    Raises:
        FileNotFoundError: nothing is there.
        StoreError: it cannot be opened, or is no ordinary file, which is no damage.
        DamagedError: it is not what a job leaves.
    """
    return _of_table(parsed(content(file), file, only=None if only is None else {*only, "class", "first_hit"}))


def look_at(file: Path) -> None:
    """Raise what is wrong with the queries of one job, as far as the types of all columns and the first hits tell.

    Raises:
        FileNotFoundError, StoreError, DamagedError: as `stored_queries`.
    """
    _of_table(parsed(content(file), file, only=("class", "first_hit")))
    _of_table(pq.read_schema(pa.BufferReader(content(file))).empty_table())


def _of_table(table: pa.Table) -> Queries:
    return _queries({name: _matrix(table[name].combine_chunks()) for name in table.column_names})


def stored_count(file: Path) -> int:
    """How many queries are in the file of one job; 0 where nobody can tell, which whoever reads it will say."""
    try:
        return int(pq.ParquetFile(pa.BufferReader(content(file))).metadata.num_rows)
    except (DamagedError, *UNREADABLE):
        return 0


def _wanted(name: str, only: Collection[str] | None) -> bool:
    return only is None or name in only or name in ("class", "first_hit")


def pack_queries(results: Path, keys: Sequence[str]) -> dict[str, pa.Array]:
    """The columns of a packed file for jobs in this order; null where a job has no queries.

    Whole but for the neighbours, which are those of `SAMPLE` queries. Values are rounded to float32 (6e-8 of
    themselves); distances to float16 (5e-4 of themselves) where that holds all of them, else to float32.
    """
    jobs = [_known(results, key) for key in keys]
    metrics = dict.fromkeys(name for job in jobs if job for name in job.values)
    columns: dict[str, list[Any]] = {
        "class": [job and job.classes for job in jobs],
        "first_hit": [job and job.first_hit for job in jobs],
        **{name: [job and job.values.get(name) for job in jobs] for name in metrics},
        "neighbours": [job and _sampled(job.neighbours) for job in jobs],
        "distances": [job and _sampled(job.distances) for job in jobs],
    }
    kinds = {"class": pa.int32(), "first_hit": pa.int32(), "neighbours": pa.int32()}
    kinds["distances"] = pa.float16() if _fits_half(columns["distances"]) else pa.float32()
    return {
        f"{PACKED}{name}": pa.array(
            [None if one is None else one.astype(kinds.get(name, pa.float32()).to_pandas_dtype()) for one in column],
            pa.list_(kinds.get(name, pa.float32())),
        )
        for name, column in columns.items()
    }


def _known(results: Path, key: str) -> Queries | None:
    try:
        return read_queries(results, key)
    except FileNotFoundError:
        return None
    except ConfigError as error:
        warnings.warn(f"{error}; its queries are left out", stacklevel=2)
        return None


def packed_encodings() -> dict[str, str]:
    """Parquet encodings of packed columns: bytes of equal weight beside each other compress best."""
    return {f"{PACKED}{name}.list.element": "BYTE_STREAM_SPLIT" for name in ("neighbours", "distances")}


def _unpacked(row: Mapping[str, Any]) -> Queries:
    given = {name: _listed(name, cell) for name, cell in row.items() if cell.is_valid}
    count = len(given["first_hit"])
    rows = np.arange(0, count, _step(count))
    for name, missing in (("neighbours", -1), ("distances", np.nan)):
        if name in given:
            width, left = divmod(given[name].size, max(1, len(rows)))
            if left or (width and not count):
                raise DamagedError(f"has {given[name].size:,} {name} for {len(rows):,} queries")
            kept = given[name].reshape(len(rows), width)
            given[name] = np.full((count, kept.shape[1]), missing, np.int32 if missing == -1 else np.float32)
            given[name][rows] = kept
    return _queries(given)


def _listed(name: str, cell: pa.Scalar) -> NDArray[Any]:
    if not isinstance(cell, pa.ListScalar):  # of long lists and lists of fixed size too
        raise DamagedError(f"has no list in {name!r}")
    return np.asarray(cell.values)


def _queries(columns: Mapping[str, NDArray[Any]]) -> Queries:
    if "first_hit" not in columns:
        raise DamagedError("has no column 'first_hit'")
    for name, column in columns.items():
        _verify(name, column, count=len(columns["first_hit"]))
    classes, first_hit, neighbours, distances = (columns.get(name) for name in OWN)
    values = {name: column.astype(np.float64) for name, column in columns.items() if name not in OWN}
    assert first_hit is not None
    return Queries(
        None if classes is None else classes.astype(np.int64), first_hit.astype(np.int32), values, neighbours, distances
    )


def _verify(name: str, column: NDArray[Any], *, count: int) -> None:
    """See that a column holds numbers of its kind, one or one row of them for each query."""
    lists, whole = name in ("neighbours", "distances"), name in ("class", "first_hit", "neighbours")
    if column.ndim != 1 + lists or len(column) != count or column.dtype.kind not in ("iu" if whole else "iuf"):
        raise DamagedError(f"has something else than {'whole ' * whole}numbers, one per query, in {name!r}")
    if name in ("class", "first_hit") and count and not 0 <= column.min() <= column.max() < LARGEST:
        raise DamagedError(f"has a number in {name!r} that is not from 0 to {LARGEST:,}")


def _nested(rows: NDArray[Any]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])


def _matrix(column: pa.Array) -> NDArray[Any]:
    if not pa.types.is_fixed_size_list(column.type):
        return np.asarray(column)
    flat, size = np.asarray(column.flatten()), column.type.list_size
    return flat.reshape(len(column), size) if flat.size == len(column) * size else flat


def _step(count: int) -> int:
    return max(1, -(-count // SAMPLE))


def _sampled(rows: NDArray[Any] | None) -> NDArray[Any] | None:
    return None if rows is None else rows[:: _step(len(rows))].ravel()


def _fits_half(columns: Sequence[NDArray[np.float32] | None]) -> bool:
    """Is every distance 0 or in the range where float16 keeps eleven digits?"""
    limits = np.finfo(np.float16)
    return all(
        ((one == 0) | ((one >= limits.smallest_normal) & (one <= limits.max))).all()
        for one in columns
        if one is not None
    )
