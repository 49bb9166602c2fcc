"""Where results lie: one folder per job, named by its key. Whatever else lies beside them is not ours to touch."""

import errno
import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path
from warnings import warn

__all__ = [
    "DAY",
    "DRAFT",
    "FILES",
    "KEY",
    "StoreError",
    "check_room",
    "check_writable",
    "holds_job",
    "job_folders",
    "only_ours",
    "only_row",
    "unopened",
    "unwritten",
]

KEY = re.compile(r"([A-Za-z0-9_.]+-){3}s\d+-[0-9a-f]{12}")
"""The form of a job's key (see `Job.key`): dataset, backbone, objective, seed, hash."""
FILES = frozenset(
    {
        "row.parquet",
        "history.parquet",
        "members.parquet",
        "queries.parquet",
        "embeddings.npy",
        "training.npy",
        "error.txt",
    }
)
"""What a job leaves in its folder."""
DRAFT = ".lossbench-draft-"
"""How the name of everything begins that is only there while something is written."""
DAY = 86400
"""Seconds after which a draft is of no command under way, but of one that was killed."""


class StoreError(OSError):
    """Results cannot be written or read; one sentence says what to do."""


def job_folders(results: Path, *, keys: Collection[str] | None = None) -> list[Path]:
    """The folders of all jobs, by name: those whose name has a key's form and that hold a file of ours.

    With `keys`, only those with these names.

    Raises:
        FileNotFoundError: there is no such folder of results.
        StoreError: it cannot be listed, or a folder in it cannot.
    """
    try:
        with os.scandir(results) as found:
            names = sorted(entry.name for entry in found if KEY.fullmatch(entry.name) and _is_folder(entry))
    except FileNotFoundError:
        advice = "run a matrix first, or name the folder with --results"
        raise FileNotFoundError(f"{results}: no results here; {advice}") from None
    except OSError as error:
        raise unopened(results, error) from error
    folders = [results / name for name in names if keys is None or name in keys]
    return [folder for folder in folders if holds_job(folder)]


def holds_job(folder: Path) -> bool:
    """Is this a job's folder: a key's form, and a file of ours inside?

    Raises:
        StoreError: it cannot be listed.
    """
    if KEY.fullmatch(folder.name) is None:
        return False
    # To list thousands of folders takes longer than to find the one file that is nearly always there.
    return os.path.lexists(f"{folder}/row.parquet") or not _names(folder).isdisjoint(FILES)


def only_ours(folder: Path) -> bool:
    """Does a folder hold nothing but files that a job leaves?

    Raises:
        StoreError: it cannot be listed.
    """
    return _names(folder) <= FILES and all(os.path.isfile(folder / name) for name in _names(folder))


def only_row(folder: Path) -> bool:
    """Is the row the only file in a folder that a job could have left?

    Raises:
        StoreError: it cannot be listed.
    """
    return _names(folder) & FILES == {"row.parquet"}


def check_writable(results: Path) -> None:
    """See that jobs could be stored here; nothing is made or written.

    Raises:
        StoreError: they could not.
    """
    place = next(path for path in (results.absolute(), *results.absolute().parents) if os.path.lexists(path))
    if not os.path.isdir(place):
        why = f"{place} is no folder"
    elif not os.access(place, os.W_OK | os.X_OK):
        why = f"{place} is not yours to write"
    else:
        return
    raise StoreError(f"{results}: cannot be written ({why}); name another folder with --results")


def check_room(results: Path, needed: int) -> None:
    """See that so many bytes fit on the disk; a warning says that they hardly do.

    Raises:
        StoreError: they do not.
    """
    free = shutil.disk_usage(results).free
    sizes = f"{results}: the embeddings take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free"
    if needed > free:
        raise StoreError(f"{sizes}: free some space, or name another folder with --results")
    if needed > 0.8 * free:
        warn(f"{sizes}, which is little: see that nothing else fills the disk", stacklevel=3)


def unopened(path: Path, error: OSError) -> StoreError:
    """The sentence for what is there and cannot be opened, which is no damage: nothing may be renamed for it."""
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return StoreError(f"{path}: too many files are open; raise the limit, for example by ulimit -n 4096")
    advice = "see that you may read it, or name another folder with --results"
    return StoreError(f"{path}: cannot be opened ({error.strerror or type(error).__name__}); {advice}")


def unwritten(results: Path, error: OSError) -> StoreError:
    """The sentence for a folder of results in which something could not be written."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, None}:  # numpy names no number for a short write
        advice = "the disk is full; free some space and give the same command again, finished jobs are kept"
        return StoreError(f"{results}: {advice}")
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return unopened(results, error)
    return StoreError(f"{results}: cannot be written ({error.strerror}); name another folder with --results")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False) or os.path.isdir(entry.path)


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):  # another run has just replaced it, or it is a file
        return set()
    except OSError as error:
        raise unopened(folder, error) from error
