"""Whether a file or a folder is there; where nobody can tell, as below a closed folder, that is said."""

import os
import stat
from pathlib import Path

from bench.datasets.split import DataError, reason

__all__ = ["is_file", "is_folder"]


def is_file(place: Path) -> bool:
    """Whether an ordinary file, or a link to one, is there. Raises DataError where the system does not let us see."""
    return stat.S_ISREG(_mode(place))


def is_folder(place: Path) -> bool:
    """Whether a folder, or a link to one, is there. Raises DataError where the system does not let us see."""
    return stat.S_ISDIR(_mode(place))


def _mode(place: Path) -> int:
    """Kind and rights; 0 where nothing is."""
    try:
        return os.stat(place).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a name with a zero byte is none
        return 0
    except OSError as error:
        raise DataError(f"{place} cannot be opened ({reason(error)}): allow it, or name another place.") from error
