"""Checkpoints: one file per job that is not finished, beside the folders of those that are.

.lossbench-checkpoint-KEY            the newest one
.lossbench-checkpoint-KEY.0123abcd   one that is being written
"""

import os
import re
import secrets
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bench.store.job_folders import DAY, KEY
from bench.store.to_disk import to_disk

__all__ = ["CHECKPOINT", "checkpoint", "forget_checkpoint", "keep_checkpoint", "sweep_checkpoints"]

CHECKPOINT = ".lossbench-checkpoint-"
"""How the names of all of them begin."""
KEPT = 30 * DAY
"""Seconds after which a checkpoint is of a job that nobody goes on with."""
_OURS = re.compile(rf"{re.escape(CHECKPOINT)}(?P<key>{KEY.pattern})(?P<draft>\.[0-9a-f]{{8}})?")


def checkpoint(results: Path, key: str) -> Path | None:
    """The file of a job; None where there is none, or something else in its place."""
    file = _place(results, key)
    return file if _is_file(file) else None


def keep_checkpoint(results: Path, key: str, save: Callable[[Path], None]) -> None:
    """Put a new checkpoint in the place of the one before, which stays until the new one is safely on the disk.

    Raises:
        OSError: it cannot be written; that before stays.
    """
    place = _place(results, key)
    results.mkdir(parents=True, exist_ok=True)
    for left in results.glob(f"{place.name}.*"):  # of an attempt that was killed while it wrote
        with suppress(OSError):
            _remove(left)
    draft = place.with_name(f"{place.name}.{secrets.token_hex(4)}")
    try:
        save(draft)
        to_disk(draft)
        os.replace(draft, place)
    finally:
        draft.unlink(missing_ok=True)
    to_disk(results)


def forget_checkpoint(results: Path, key: str) -> None:
    """Remove the checkpoint of a job that has ended, if there is one."""
    with suppress(OSError):
        _remove(_place(results, key))


def sweep_checkpoints(results: Path, is_finished: Callable[[Path], bool]) -> None:
    """Remove those of finished jobs, those that no one has gone on with for long, and what was never whole.

    Args:
        results: folder of results.
        is_finished: says of a job's folder whether its row is final.
    """
    for file in results.glob(f"{CHECKPOINT}*"):
        found = _OURS.fullmatch(file.name)
        with suppress(OSError):  # another run has just removed it, or it is another user's
            if found and (_age(file) > (DAY if found["draft"] else KEPT) or is_finished(results / found["key"])):
                _remove(file)


def _place(results: Path, key: str) -> Path:
    return results / f"{CHECKPOINT}{key}"


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _age(file: Path) -> float:
    return time.time() - file.lstat().st_mtime


def _remove(file: Path) -> None:
    if _OURS.fullmatch(file.name) and _is_file(file):
        file.unlink()
