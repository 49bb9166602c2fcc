"""See that what was written would survive a loss of power: else a new name may lead to an empty file."""

import errno
import os
from pathlib import Path

__all__ = ["to_disk"]

UNABLE = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}
"""What a file system says that cannot do so for folders."""


def to_disk(path: Path) -> None:
    """See that the content of a file, or the names in a folder, are on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in UNABLE:
            raise
    finally:
        os.close(number)
