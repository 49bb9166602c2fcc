"""Where results lie: one folder per job, named by its key."""

from pathlib import Path

__all__ = ["job_folders"]


def job_folders(results: Path) -> list[Path]:
    """The folders of all jobs, by name; what begins with a dot is none.

    Raises:
        FileNotFoundError: there is no such folder of results.
    """
    if not results.exists():
        raise FileNotFoundError(f"{results}: no results here; run a matrix first, or name the folder with --results")
    return sorted(path for path in results.iterdir() if path.is_dir() and not path.name.startswith("."))
