"""Arrays and tables from a user's file; whatever a damaged one raises becomes one sentence."""

import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.datasets.files.there import is_file
from bench.datasets.split import DataError, reason

__all__ = ["first", "in_one_sentence", "npy", "npz", "one_of", "parquet", "read", "verify_names", "without_nulls"]

T = TypeVar("T")


def read(file: Path, readers: Mapping[str, Callable[[Path], T]]) -> T:
    """What the reader for this kind of file, by its ending, makes of it.

    Raises:
        DataError: there is no such file, no reader for its kind, or it cannot be read.
    """
    kind = file.suffix.lower()
    if kind not in readers:
        raise DataError(f"{file} is none of {', '.join(readers)}: save it as one of them.")
    if not is_file(file):
        raise DataError(f"{file} is {'no ordinary file' if file.exists() else 'not there'}: check the path.")
    with in_one_sentence(file):
        return readers[kind](file)


@contextmanager
def in_one_sentence(file: Path) -> Iterator[None]:
    """Whatever reading the file raises within it becomes a DataError."""
    try:
        yield
    except DataError:
        raise
    except PermissionError as error:
        raise DataError(f"{file} cannot be opened ({reason(error)}): allow it, or name another file.") from error
    except Exception as error:  # damaged bytes can raise nearly anything in numpy, zlib and zipfile
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise DataError(
                f"{file} is no plain array, and pickled objects, which can run code, are not read: save it anew with "
                "numpy.save."
            ) from None
        why = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise DataError(f"{file} cannot be read ({why}): write it again.") from error


def npy(file: Path, *, mapped: bool = False) -> NDArray[Any]:
    """The array of a .npy file, or a read-only map of it."""
    found = np.load(file, mmap_mode="r" if mapped else None, allow_pickle=False)
    if not isinstance(found, np.ndarray):
        found.close()
        raise DataError(f"{file} is an archive of arrays: name it .npz.")
    return found


def npz(file: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a .npz file, by name."""
    with zipfile.ZipFile(file), np.load(file, allow_pickle=False) as archive:
        found = {name: archive[name] for name in archive.files}
    if raw := [name for name, array in found.items() if not isinstance(array, np.ndarray)]:
        raise DataError(f"{file} holds {raw[0]}, which is no array: write it with numpy.savez.")
    return found


def parquet(file: Path) -> Any:
    """The pyarrow table of a Parquet file."""
    from pyarrow.parquet import ParquetFile  # slow to import, and most files need none of it

    table = ParquetFile(file).read()
    table.validate(full=True)  # the letters of a damaged file
    verify_names(file, table.column_names)
    return table


def verify_names(file: Path, names: Sequence[str]) -> None:
    """Refuse two columns of one name."""
    counts = Counter(names)
    if twice := sorted(name for name in counts if counts[name] > 1):
        raise DataError(f"{file} has several columns named {twice[0]!r}: give each a name of its own.")


def without_nulls(file: Path, column: Any) -> Any:
    """The column of a table, which has a value in every row."""
    if column.null_count:
        raise DataError(f"{file} has {column.null_count:,} row(s) without a value: fill them in.")
    return column


def first(arrays: Mapping[str, T], names: tuple[str, ...]) -> T | None:
    """The first of those names that is there."""
    return next((arrays[name] for name in names if name in arrays), None)


def one_of(file: Path, arrays: Mapping[str, T], names: tuple[str, ...]) -> T:
    """The one of those names, or the only one there is."""
    found = first(arrays, names)
    if found is None and len(arrays) != 1:
        raise DataError(f"{file} holds {', '.join(arrays) or 'nothing'}: name one of them {names[0]!r}.")
    return next(iter(arrays.values())) if found is None else found
