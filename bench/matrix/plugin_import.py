"""A plugin is imported: only where its functions are called, and only if it still is what was read."""

import importlib
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.matrix.plugin_file import Plugin, PluginError, digest, local_modules

__all__ = ["failure", "function"]


def function(plugin: Plugin, name: str) -> Callable[..., Any]:
    """A function of a plugin, which is imported now, once for each content.

    Raises:
        PluginError: it cannot be imported, or has changed since it was read.
    """
    module = _module(plugin)
    if not callable(found := getattr(module, name, None)):
        raise PluginError(f"{plugin.shown}: {name} is no function once the file has run: do not assign to that name")
    return found  # type: ignore[no-any-return]


@cache
def _module(plugin: Plugin) -> ModuleType:
    try:
        if plugin.file.read_bytes() != plugin.source or digest(plugin) != plugin.sha:
            raise PluginError(f"{plugin.shown} has changed since this run began: give the same command again")
    except OSError:
        raise PluginError(f"{plugin.shown} is gone since this run began: put it back, and repeat the command") from None
    try:
        return importlib.import_module(plugin.module) if plugin.package else _executed(plugin)
    except (Exception, SystemExit) as error:  # a module raises whatever it likes
        raise PluginError(f"{plugin.shown}: cannot be imported ({failure(error, plugin)}): mend it") from None


def _executed(plugin: Plugin) -> ModuleType:
    """The source that was read, run as a module that others can be pickled by; no bytecode is left beside it."""
    module = ModuleType(f"lossbench_plugin_{plugin.sha[:12]}.{plugin.module}")
    module.__file__ = str(plugin.file)
    sys.modules[module.__name__] = module
    try:
        with _beside(plugin):
            exec(compile(plugin.source, str(plugin.file), "exec"), module.__dict__)
    except BaseException:
        del sys.modules[module.__name__]
        raise
    return module


@contextmanager
def _beside(plugin: Plugin) -> Iterator[None]:
    """The modules beside the plugin can be imported, and are read anew: another content, or another's, is forgotten."""
    for file in local_modules(plugin):
        sys.modules.pop(".".join(Path(file).with_suffix("").parts).removesuffix(".__init__"), None)
    quiet, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(plugin.root))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(plugin.root))
        sys.dont_write_bytecode = quiet


def failure(error: BaseException, plugin: Plugin | None) -> str:
    """What an error says, and in which line of the plugin it came up, for the brackets of a sentence."""
    own = str(plugin.file) if plugin else ""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    first = str(error).strip().partition("\n")[0]
    where = f" in line {lines[-1]}" if lines else ""
    return f"{type(error).__name__}{f': {first}' if first else ''}{where}"
