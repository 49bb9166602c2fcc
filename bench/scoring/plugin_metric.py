"""The metrics of plugins: called like our own, and what they return is looked at."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from bench.matrix.catalogue import Entry
from bench.matrix.plugin_file import PluginError
from bench.matrix.plugin_import import failure
from bench.scoring.clustering import Clustering
from bench.scoring.ranking import rank_order

__all__ = ["of_plugin", "trial"]


def of_plugin(entry: Entry) -> Callable[..., Any]:
    """A plugin's metric; calling it raises PluginError where it fails, or gives anything but values as a metric has.

    Raises:
        PluginError: it cannot be imported.
    """
    metric, per_query = entry.function(), entry.positional[0] == "ranking"

    @wraps(metric)
    def looked_at(given: Any, *k: int) -> Any:
        try:
            found = np.asarray(metric(given, *k), np.float64)
        except Exception as error:  # a plugin raises whatever it likes
            raise PluginError(
                f"{entry.name} of {entry.source} fails ({failure(error, entry.plugin)}): mend it"
            ) from None
        if found.shape != (given.n_relevant.shape if per_query else ()):
            what = f"one value per query, [{len(given.n_relevant)}]" if per_query else "one number"
            raise PluginError(f"{entry.name} of {entry.source} gives the shape {list(found.shape)}: return {what}")
        if (found > 1).any():
            most = found[found > 1].max()
            raise PluginError(f"{entry.name} of {entry.source} gives {most:g}: 1 is perfect, so return less")
        return found if per_query else float(found)

    return looked_at


def trial(entry: Entry) -> None:
    """Call a plugin's metric on six images of two classes, before anything trains.

    Raises:
        PluginError: it cannot be imported, fails, or returns something else.
    """
    metric, labels = of_plugin(entry), np.array([0, 0, 0, 1, 1, 1])
    if entry.positional[0] == "clustering":
        metric(Clustering(labels, np.array([0, 0, 1, 1, 1, 0])))
        return
    order = np.array([[other for other in range(6) if other != query] for query in range(6)])
    metric(rank_order(order, labels, depth=4), *([2] if "k" in entry.positional else []))
