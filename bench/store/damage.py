"""What lies beside a job's row and is not what a job leaves there: named, never used, and its job run again."""

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.store.checked_files import mark, note_seen, seen
from bench.store.job_folders import StoreError
from bench.store.logs import read_log
from bench.store.publish import move_aside
from bench.store.queries import look_at, stored_count, stored_queries
from bench.store.stored_file import DamagedError, mapped, matrix, verify_finite

__all__ = ["LOOK", "Again", "set_aside_beside", "usable"]

Floats = NDArray[np.float32]
READ_WHOLE = 2**26
"""Bytes of an array, at most, of which `bench run` looks at every number; of a larger one only at kind and length."""


class Again(NamedTuple):
    """What came of looking at the files beside the rows."""

    keys: frozenset[str]
    """Of the jobs that were set aside."""
    sentences: tuple[str, ...]


class _Fault(NamedTuple):
    sentence: str
    """Names the file."""
    damaged: bool
    """Or else it cannot be opened, which is no damage."""


def usable(folder: Path, *names: str) -> bool:
    """Whether these files of a job are there and whole; one that is there and is not, is named in a warning."""
    if not all(os.path.lexists(folder / name) for name in names):
        return False
    faults = [fault for name in names if (fault := _fault(folder / name, READ[name]))]
    for fault in faults:
        warnings.warn(f"{fault.sentence}; it is left out", stacklevel=2)
    return not faults


def set_aside_beside(results: Path, keys: Iterable[str]) -> Again:
    """Rename the folders of those jobs in which something beside the row is damaged, so that the jobs run again.

    What cannot be opened is no damage: it is told, and left as it is.

    Raises:
        StoreError: a folder cannot be renamed.
    """
    known, folders = seen(results), [results / key for key in sorted(keys)]
    new = {folder: one for folder in folders if (one := mark(folder, LOOK)) not in known}
    with ThreadPoolExecutor() as threads:
        found = dict(zip(new, threads.map(_looked_at, new), strict=True))
    note_seen(results, [new[folder] for folder, (_, faults) in found.items() if not faults])
    again, sentences = set(), []
    for folder, (seen_one, faults) in found.items():
        if damaged := [fault.sentence for fault in faults if fault.damaged]:
            again.add(folder.name)
            if place := _moved(folder, seen_one):
                sentences.append(f"{'; '.join(damaged)}; its folder is set aside as {place}, and the job runs again")
        sentences += [f"{fault.sentence}; it is left out" for fault in faults if not fault.damaged and not damaged]
    return Again(frozenset(again), tuple(sentences))


def _moved(folder: Path, seen_one: os.stat_result | None) -> str | None:
    """Its new name; None where another process has just moved or replaced it."""
    try:
        return move_aside(folder, seen=seen_one)
    except StoreError:
        raise
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise StoreError(f"{folder}: is damaged and cannot be renamed ({why}); rename or delete it yourself") from error


def _looked_at(folder: Path) -> tuple[os.stat_result | None, list[_Fault]]:
    """Which folder it is, None where it has gone, and what is wrong in it."""
    try:
        which = os.stat(folder)
    except OSError:
        which = None
    return which, [fault for name, read in LOOK.items() if (fault := _fault(folder / name, read))]


def _fault(file: Path, read: Callable[[Path], Any]) -> _Fault | None:
    """What is wrong with a file of ours; nothing where it is not there."""
    try:
        read(file)
    except FileNotFoundError:
        return None
    except StoreError as error:
        return _Fault(str(error), damaged=False)
    except DamagedError as error:
        return _Fault(f"{file}: {error}", damaged=True)
    return None


def _array(file: Path) -> Floats:
    """An array, every number of which is looked at if it is small."""
    found = mapped(file)
    if found.nbytes <= READ_WHOLE:
        verify_finite(found)
    return found


def _embeddings(file: Path, *, look: Callable[[Path], Floats]) -> None:
    """Raise what is wrong with the test embeddings, of which there is a row for each query."""
    rows, queries = len(look(file)), stored_count(file.with_name("queries.parquet"))
    if rows < queries:
        raise DamagedError(f"holds {rows:,} rows for {queries:,} queries")


READ: Mapping[str, Callable[[Path], Any]] = {
    "history.parquet": read_log,
    "members.parquet": read_log,
    "queries.parquet": stored_queries,
    "embeddings.npy": partial(_embeddings, look=matrix),
    "training.npy": matrix,
}
"""By the name of the file what reads it whole."""
LOOK: Mapping[str, Callable[[Path], Any]] = {
    **READ,
    "queries.parquet": look_at,
    "embeddings.npy": partial(_embeddings, look=_array),
    "training.npy": _array,
}
"""The same for `bench run`, which looks at all finished jobs of a matrix, and so reads less of the queries."""
