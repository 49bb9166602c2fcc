"""Random damage to stored results: every file is read as it was, or named with what is wrong with it."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from support.jobs import tiny
from support.one_sentence import refused
from support.stored import finished

import bench
from bench import store
from bench.analysis.boards import boards
from bench.matrix.job import ConfigError
from bench.store.queries import Queries

__all__ = ["damaged", "in_a_folder", "packed"]

Draws = np.random.Generator
JOBS = tiny(losses=["triplet", "contrastive"], seeds=2)
FILES = ("row.parquet", "history.parquet", "members.parquet", "queries.parquet", "embeddings.npy", "training.npy")
ODD: tuple[Callable[[int], Any], ...] = (
    pa.nulls,
    lambda count: pa.array([-1] * count),
    lambda count: pa.array([2**62] * count),
    lambda count: pa.array([1e308] * count),
    lambda count: pa.array([float("nan")] * count),
    lambda count: pa.array([float("-inf")] * count),
    lambda count: pa.array([0.5] * count, pa.float16()),
    lambda count: pa.array([True] * count),
    lambda count: pa.array([""] * count),
    lambda count: pa.array(["\x1b[31mred\x00"] * count),
    lambda count: pa.array(["x" * 100_000] * count),
    lambda count: pa.array(["{}"] * count),
    lambda count: pa.array(['{"epochs": "many", "augment": [1]}'] * count),
    lambda count: pa.array([b"\xff\xfe"] * count),
    lambda count: pa.array([[]] * count),
    lambda count: pa.array([[1, 2]] * count),
    lambda count: pa.array([["a", None]] * count),
    lambda count: pa.array([{"a": 1}] * count),
    lambda count: pa.array([0] * count, pa.timestamp("s")),
    lambda count: pa.array(["a"] * count).dictionary_encode(),
)
"""What may stand in a column, by the number of rows."""


def in_a_folder(draws: Draws, place: Path) -> str:
    """Damage up to two files of a folder of results, and read all of it; what came of it, in a word."""
    results = place / "runs"
    queries = Queries(np.array([0, 1, 1]), np.array([1, 0, 3], np.int32), {}, np.eye(3, dtype=np.int32), None)
    for job in JOBS:
        store.write(results, finished(job)._replace(queries=queries))
    for _ in range(int(draws.integers(3))):
        file = results / JOBS[int(draws.integers(len(JOBS)))].key / str(draws.choice(FILES))
        file.write_bytes(damaged(draws, file))
    said = _read(results)
    for sentence in store.set_aside(results).sentences:
        refused(ValueError(sentence))
    again = store.set_aside_beside(results, [job.key for job in JOBS if (results / job.key).is_dir()])
    left = [one for one in _read(results) if "queries.parquet" not in one]  # of which a run reads a part alone
    assert left == [], "something damaged was neither named nor set aside"
    moved = again.keys or list(results.glob(".broken-*"))
    assert moved or not [one for one in said if "queries.parquet" not in one], said
    return "refused and set aside" if said else "read"


def packed(draws: Draws, place: Path) -> str:
    """Damage a packed file, and read it; what came of it, in a word."""
    for job in JOBS:
        store.write(place / "runs", finished(job))
    file = place / "packed.parquet"
    store.pack(place / "runs", file)
    file.write_bytes(damaged(draws, file))
    return "refused" if _read(file) else "read"


def damaged(draws: Draws, file: Path) -> bytes:
    """The bytes of a file with something done to them."""
    content = file.read_bytes()
    ways: list[Callable[[Draws, bytes], bytes]] = [_cut, _flip, _zeros, _noise, _longer]
    ways += {".npy": [_array, _array], ".parquet": [_column] * 6}.get(file.suffix, [])
    way = ways[int(draws.integers(len(ways)))]
    try:
        return way(draws, content)
    except Exception:  # damaged before: nothing can be done to its columns, and numpy and pyarrow say so in many ways
        return b""


def _cut(draws: Draws, content: bytes) -> bytes:
    return content[: int(draws.integers(len(content) + 1))]


def _flip(draws: Draws, content: bytes) -> bytes:
    found = np.frombuffer(content, np.uint8).copy()
    for place in draws.integers(len(found), size=int(draws.integers(1, 9))) if len(found) else ():
        found[place] ^= draws.integers(1, 256, dtype=np.uint8)
    return found.tobytes()


def _zeros(draws: Draws, content: bytes) -> bytes:
    start, end = sorted(draws.integers(len(content) + 1, size=2).tolist())
    return content[:start] + bytes(end - start) + content[end:]


def _noise(draws: Draws, content: bytes) -> bytes:
    start, end = sorted(draws.integers(len(content) + 1, size=2).tolist())
    return content[:start] + draws.bytes(end - start) + content[end:]


def _longer(draws: Draws, content: bytes) -> bytes:
    return content + draws.bytes(int(draws.integers(1, 99)))


def _column(draws: Draws, content: bytes) -> bytes:
    """A column away, twice, renamed or with something else in it."""
    table = pq.read_table(io.BytesIO(content))
    at = int(draws.integers(table.num_columns))
    name = table.column_names[at]
    change = draws.integers(6)
    if change == 0:
        table = table.remove_column(at)
    elif change == 1:
        table = table.rename_columns([f"{one}x" if one == name else one for one in table.column_names])
    elif change == 2:
        table = pa.concat_tables([table, table.slice(0, int(draws.integers(2)))])
    elif change == 3:
        table = table.append_column(str(draws.choice(["new", name])), ODD[int(draws.integers(len(ODD)))](len(table)))
    else:
        table = table.set_column(at, name, ODD[int(draws.integers(len(ODD)))](len(table)))
    written = io.BytesIO()
    pq.write_table(table, written)
    return written.getvalue()


def _array(draws: Draws, content: bytes) -> bytes:
    """Another kind, shape or number in it."""
    array = np.atleast_2d(np.load(io.BytesIO(content))).copy()  # it may have been damaged before
    array.flat[int(draws.integers(array.size))] = draws.choice([np.nan, np.inf, 3.0])
    changed = [array, array[:1], array[0], array[:, :0], array.astype(np.float64), array.astype("S4"), array.T]
    written = io.BytesIO()
    np.save(written, changed[int(draws.integers(len(changed)))])
    return written.getvalue()


def _read(source: Path) -> list[str]:
    """Everything that commands read of it; the sentences that were said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        said = [refusal for read in _reads(source) if (refusal := _refusal(read))]
    return [*said, *(_sentence(one.message) for one in caught if isinstance(one.message, UserWarning))]


def _reads(source: Path) -> list[Callable[[], object]]:
    keys = [job.key for job in JOBS if source.is_file() or (source / job.key).is_dir()]
    beside = [lambda key=key: store.usable(source / key, *FILES[3:]) for key in keys if source.is_dir()]
    return [
        lambda: boards(bench.load(source)),
        lambda: store.history(source),
        lambda: store.members(source),
        *(lambda key=key: store.read_queries(source, key) for key in keys),
        *beside,
    ]


def _refusal(read: Callable[[], object]) -> str:
    try:
        read()
    except FileNotFoundError:
        return ""
    except (ConfigError, store.StoreError) as error:
        return _sentence(error)
    return ""


def _sentence(error: Exception) -> str:
    """What it says, once it is sure that it is one sentence."""
    refused(error)
    return str(error)
