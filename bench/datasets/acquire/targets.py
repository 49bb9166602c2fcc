"""Which datasets a request names, every parameter resolved."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.matrix.catalogue import check, did_you_mean, find
from bench.matrix.changes import key_and_value
from bench.matrix.expand import expand
from bench.matrix.file import load
from bench.matrix.job import ConfigError, Part

__all__ = ["targets"]


def targets(
    names: Sequence[str],
    matrix: str | None,
    changes: Sequence[str],
    data: Path | None,
    *,
    skip_broken: bool = False,
) -> list[Part]:
    """The datasets of these names, or those of a matrix, each once.

    Args:
        names: of datasets; a change KEY=VALUE is for those that have the parameter.
        matrix: a name or a path; changes are those of `bench run`.
        changes: KEY=VALUE.
        data: the folder that a parameter `path` is relative to; None: the current folder.
        skip_broken: sets the parameter of that name where a dataset has it.

    Raises:
        ConfigError: neither names nor a matrix, or both; an unknown name or parameter; a path where nothing is.
    """
    if bool(names) == (matrix is not None):
        raise ConfigError("name datasets, or a matrix with --matrix, and not both: bench data list shows all datasets")
    if matrix is not None:
        jobs = expand(load(matrix, changes))
        parts = list({job.dataset.label: job.dataset for job in jobs}.values())
    else:
        parts = _named(names, dict(map(key_and_value, changes)))
    if skip_broken:
        parts = [_changed(part, skip_broken=True) if "skip_broken" in part.parameters else part for part in parts]
    return [_at_its_path(part, data) for part in parts]


def _named(names: Sequence[str], values: Mapping[str, Any]) -> list[Part]:
    try:
        found = [find("datasets", name) for name in dict.fromkeys(names)]
        known = {parameter for entry in found for parameter in entry.parameters}
        for key in values.keys() - known:
            raise LookupError(f"{', '.join(names)}: no parameter {key!r}{did_you_mean(key, known)}")
        parts = []
        for entry in found:
            own = {key: value for key, value in values.items() if key in entry.parameters}
            shown = ", ".join(f"{key}={value}" for key, value in own.items())
            label = f"{entry.name}({shown})" if shown else entry.name
            parts.append(Part(name=entry.name, parameters=check(entry, own), label=label))
        return parts
    except (LookupError, ValueError) as error:
        raise ConfigError(str(error.args[0])) from None


def _at_its_path(part: Part, data: Path | None) -> Part:
    """The part, its path made absolute where there is no folder of data sets that it could be relative to."""
    path = part.parameters.get("path")
    if path is None:
        return part
    place = (data or Path()) / os.path.expanduser(path)
    if not place.exists():
        raise ConfigError(f"{part.label}: there is no {place}: set path to your own data, relative to --data")
    return part if data else _changed(part, path=str(place.resolve()))


def _changed(part: Part, **values: Any) -> Part:
    return part.model_copy(update={"parameters": {**part.parameters, **values}})
