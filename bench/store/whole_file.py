"""A Parquet file that is written whole or not at all: a reader sees the old file or the new one."""

import os
import re
import secrets
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.store.job_folders import DAY, DRAFT

__all__ = ["write_whole"]


def write_whole(table: pa.Table, file: Path, **options: Any) -> None:
    """Write beside the place, then rename.

    Args:
        table: what to write.
        file: where; what killed commands left in its folder is removed.
        options: of `pyarrow.parquet.write_table`.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    _sweep(file.parent)
    draft = file.with_name(f"{DRAFT}{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as opened:
            pq.write_table(table, opened, compression="zstd", **options)
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
