"""One file per dataset, each a public function whose first parameter is `data` and which returns a Split."""

import json
from functools import lru_cache
from pathlib import Path

from bench.datasets.plugin_split import split_of
from bench.datasets.split import DataError, Split, reason
from bench.matrix.catalogue import find
from bench.matrix.job import Part

__all__ = ["load"]


def load(dataset: Part, data: Path | None) -> Split:
    """The split of a resolved dataset, kept in memory for the next job of this process.

    Args:
        dataset: from an expanded matrix.
        data: data folder with one subfolder per dataset.

    Raises:
        DataError: the data is missing or broken, or cannot be opened.
    """
    try:
        return _load(dataset.name, json.dumps(dataset.parameters, sort_keys=True), data, dataset.plugin)
    except OSError as error:
        place = error.filename or data
        raise DataError(
            f"{dataset.label}: {place} cannot be opened ({reason(error)}): allow it, or move it."
        ) from error


@lru_cache(maxsize=2)
def _load(name: str, parameters: str, data: Path | None, plugin: str | None) -> Split:  # noqa: ARG001
    """The same for the same arguments; another content of a `plugin` is another."""
    return split_of(find("datasets", name), data, json.loads(parameters))
