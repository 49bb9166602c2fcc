"""Which plugins this process chooses from: the files that were named, and what installed packages offer."""

import importlib.metadata
import importlib.util
import warnings
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from bench.matrix.plugin_file import POSITIONAL, Plugin, PluginError, digest, functions

__all__ = ["GROUP", "adopt", "named", "used"]

GROUP = "lossbench."
"""How a group of entry points begins; its kind of parts follows."""

_named: tuple[Plugin, ...] = ()


def used() -> tuple[Plugin, ...]:
    """The plugins in use, files first."""
    return (*_named, *_installed())


def named() -> tuple[Plugin, ...]:
    """The files that were named."""
    return _named


def adopt(files: tuple[Plugin, ...]) -> None:
    """Use these files from now on, and none that were named before."""
    global _named  # noqa: PLW0603
    _named = files


@cache
def _installed() -> tuple[Plugin, ...]:
    """What the packages of this environment offer; one that cannot be used is a warning."""
    found, points = [], importlib.metadata.entry_points()
    for kind in dict.fromkeys(POSITIONAL.values()):
        for point in points.select(group=GROUP + kind):
            try:
                found.append(_offered(kind, point))
            except PluginError as error:
                warnings.warn(f"{error}; it is left out", stacklevel=2)
    return tuple(found)


def _offered(kind: str, point: importlib.metadata.EntryPoint) -> Plugin:
    """The plugin of an entry point, whose module is found and read but not imported.

    Raises:
        PluginError: there is no such module, it is no Python file, or it does not define what is named.
    """
    shown = f"{point.dist.name if point.dist else 'a package'} ({point.value})"
    spec = _spec(point.module)
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise PluginError(f"{shown}: its entry point names no Python module")
    file = Path(spec.origin).resolve()
    depth = len(point.module.split(".")) - (file.name != "__init__.py")
    root, source = file.parents[depth], file.read_bytes()
    plugin = Plugin(shown, file, point.module, root, source, "", package=True, kind=kind, only=point.attr or None)
    if not any(True for _ in functions(plugin, kind)):
        raise PluginError(f"{shown}: the module defines no function of the kind {kind}")
    return plugin._replace(sha=digest(plugin))


def _spec(module: str) -> ModuleSpec | None:
    """Where a module is, without importing the packages that it is in."""
    first, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        return None
    for number in range(len(rest)):
        if spec is None:
            return None
        spec = PathFinder.find_spec(".".join([first, *rest[: number + 1]]), spec.submodule_search_locations)
    return spec
