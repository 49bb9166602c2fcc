"""Whether a file or a folder is there; where nobody can tell, as below a closed folder, that is said."""

import os
import stat
from pathlib import Path

from bench.datasets.split import DataError, reason

__all__ = ["is_file", "is_folder", "own_file"]


def is_file(place: Path) -> bool:
    """Whether an ordinary file, or a link to one, is there. Raises DataError where the system does not let us see."""
    return stat.S_ISREG(_mode(place))


def is_folder(place: Path) -> bool:
    """Whether a folder, or a link to one, is there. Raises DataError where the system does not let us see."""
    return stat.S_ISDIR(_mode(place))


def own_file(data: Path | None, path: str, *, dataset: str, what: str) -> Path:
    """The file that a user's dataset names by `path`, absolute or inside the data folder.

    Raises:
        DataError: it is not there; the sentence says `what` the path should name.
    """
    own = os.path.expanduser(path)
    if data is None and not os.path.isabs(own):
        raise DataError(f"{dataset} needs an absolute path, or --data DIR (or BENCH_DATA) that holds {path!r}.")
    file = Path(os.path.abspath((data or Path()) / own))
    if not is_file(file):
        raise DataError(f"{file} is not a file: set path to {what}.")
    return file


def _mode(place: Path) -> int:
    """Kind and rights; 0 where nothing is."""
    try:
        return os.stat(place).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a name with a zero byte is none
        return 0
    except OSError as error:
        raise DataError(f"{place} cannot be opened ({reason(error)}): allow it, or name another place.") from error
