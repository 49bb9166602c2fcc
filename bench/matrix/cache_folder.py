"""Where lies what can be made or fetched again: decoded pictures, features, copies of results at an address."""

import os
from pathlib import Path

from platformdirs import user_cache_dir

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """BENCH_CACHE, else the user's cache folder."""
    return Path(os.environ.get("BENCH_CACHE") or user_cache_dir("lossbench", appauthor=False))
