"""lossbench: which loss, or which ensemble of losses, retrieves best on your data, and is the difference real?"""

from importlib import import_module
from typing import Any

__all__ = ["Until", "check", "compare", "evaluate", "leaderboard", "load", "run", "search"]

_HOME = {
    "Until": "bench.analysis.stopping",
    "check": "bench.execute.regression_check",
    "compare": "bench.analysis.two_methods",
    "evaluate": "bench.scoring.evaluation",
    "leaderboard": "bench.analysis.leaderboard",
    "load": "bench.store",
    "run": "bench.execute.matrix_run",
    "search": "bench.execute.search",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `bench --help` waits for neither torch nor pandas."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
