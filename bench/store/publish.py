"""A job's folder gets its place by renaming alone, whatever other processes do to the same place at the same time.

There is no lock, and nothing is renamed for what was seen before: a finished result moves what it finds away and takes
the place; any other result takes an empty place, or changes the files of a folder that it has open, which is nobody's
any more once a finished result has moved it away. So a finished row is never replaced by another one.
"""

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from bench.store.job_folders import DAY, DRAFT, FILES, StoreError, holds_job, only_ours
from bench.store.processes import marked, ours
from bench.store.row_file import DamagedError, read_row
from bench.store.to_disk import to_disk

__all__ = ["FINISHED", "finished", "move_aside", "new_draft", "publish", "sweep_drafts"]

FINISHED = ("done", "diverged")
"""What is never replaced: the same job would end so again."""
TRIES = 1000
"""Others that may come first, one after the other."""
TAKEN = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}


def new_draft(results: Path) -> Path:
    """An empty folder that is only there while something is written, named by the process that writes."""
    return Path(mkdtemp(prefix=f"{DRAFT}{ours().mark}", dir=results))


def sweep_drafts(results: Path) -> None:
    """Remove the drafts that killed runs left in a folder."""
    for draft in [path for path in results.iterdir() if path.name.startswith(DRAFT)]:
        with suppress(OSError):  # another run has just removed it, or it is another user's
            _remove_draft(draft)


def _remove_draft(draft: Path) -> None:
    """Remove what a killed run left, and nothing but files of ours.

    Of a process of this machine it is known whether it has ended; what another one made is left for a day.
    """
    maker = marked(draft.name.removeprefix(DRAFT))
    left = maker is not None and maker.dead
    if draft.is_symlink() or (not left and time.time() - draft.stat().st_mtime < DAY):
        return
    if draft.is_dir() and only_ours(draft):
        shutil.rmtree(draft, ignore_errors=True)
    elif maker is not None and draft.is_file():
        draft.unlink()


def finished(home: Path) -> bool:
    """Whether a job has a result there that is never replaced."""
    return _status(home) in FINISHED


def publish(draft: Path, home: Path, status: str) -> None:
    """Give the draft its place, once its files are on the disk; nothing happens where a finished result stands.

    Raises:
        StoreError: the place holds something else.
    """
    draft.chmod(0o755)
    _sync_files(draft)
    for number in range(TRIES):
        if _placed(draft, home):
            break
        with suppress(FileNotFoundError), _opened(home) as folder:  # another process has just moved it
            found = _status(home)
            if not _is(home, folder):
                continue
            if found is None:
                raise StoreError(f"{home}: holds something else than results; move it to another place")
            if found in FINISHED and not _completes(draft, home, found):
                return
            if status in FINISHED:
                _clear(home, draft.with_name(f"{draft.name}-old{number}"))
            elif home.is_symlink() or _changed(draft, home, folder):
                break
    else:
        raise StoreError(f"{home}: other processes replace it all the time; run the matrix again when they have ended")


def _placed(draft: Path, home: Path) -> bool:
    try:
        draft.rename(home)
    except OSError as error:
        if error.errno not in TAKEN:
            raise
        return False
    return True


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """The folder itself, whatever it is called meanwhile."""
    try:
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno == errno.ENOTDIR or folder.is_symlink():
            raise StoreError(f"{folder}: holds something else than results; move it to another place") from None
        raise
    try:
        yield number
    finally:
        os.close(number)


def _is(home: Path, folder: int) -> bool:
    """Is it this folder that stands there now?"""
    return os.path.samestat(os.stat(home), os.fstat(folder))


def _status(home: Path) -> str | None:
    """What became of a stored job, or that its row is damaged; None where there is nothing of ours."""
    try:
        row = read_row(home) if holds_job(home) else None
    except DamagedError:
        return "damaged"
    return None if row is None else str(row["status"][0].as_py())


def _completes(draft: Path, home: Path, found: str) -> bool:
    """Has someone deleted the embeddings of a finished job, and does the draft bring them again?"""
    name = "embeddings.npy"
    return found == "done" and (draft / name).exists() and not (home / name).exists()


def _clear(home: Path, place: Path) -> None:
    """Remove a folder of ours; one in which someone put a file of theirs is kept under another name."""
    if home.is_symlink() or not only_ours(home):
        move_aside(home)
    else:
        home.rename(place)
        shutil.rmtree(place, ignore_errors=True)


def move_aside(folder: Path, *, seen: os.stat_result | None = None) -> str | None:
    """Give a folder a name that is no key; returns the name, None where another process has just moved it.

    One that is not the folder that was `seen`, because another process has just put its result there, gets its own name
    back.
    """
    for number in range(10**6):
        place = folder.with_name(f".broken-{folder.name}-{number}")
        if os.path.lexists(place):
            continue
        try:
            folder.rename(place)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in TAKEN:  # another process has just taken the name
                raise
        else:
            if seen is None or os.path.samestat(os.stat(place), seen):
                return place.name
            _placed(place, folder)  # or a third process was quicker
            return None
    raise StoreError(f"{folder}: a million folders of this name are set aside; delete some")


def _changed(draft: Path, home: Path, folder: int) -> bool:
    """Put the files of the draft into an open folder, in the place of those that a job left there; its row last.

    Returns whether that folder has kept its place.
    """
    names = {path.name for path in draft.iterdir()}
    for name in FILES - names:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
    for name in sorted(names, key=lambda name: name == "row.parquet"):
        os.rename(draft / name, name, dst_dir_fd=folder)
    os.fsync(folder)
    return _is(home, folder)


def _sync_files(draft: Path) -> None:
    """See that the content is on the disk before its name is: else a loss of power leaves empty files."""
    for path in (*draft.iterdir(), draft):
        to_disk(path)
