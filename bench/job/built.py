"""A module that the function of a part has returned."""

from collections.abc import Callable
from typing import Any

from torch import nn

from bench.matrix.catalogue import Entry
from losses.shape import Unsuitable

__all__ = ["NoTrunk", "built", "built_trunk"]


class NoTrunk(ValueError):
    """A trunk cannot be built, whatever is to stand on it."""


def built(entry: Entry, module: Any) -> nn.Module:
    """What the function of a part has returned, if it is a module.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(module, nn.Module):
        return module
    kind = type(module).__name__ if not isinstance(module, type) else f"the class {module.__name__}"
    raise ValueError(f"{entry.name} of {entry.source} returns {kind}, not an nn.Module: return a module from it")


def built_trunk(entry: Entry, build: Callable[[], Any]) -> nn.Module:
    """The trunk of a backbone.

    Raises:
        NoTrunk: its function raises a ValueError, or returns no module.
        Unsuitable: its function says that it does not suit the data.
    """
    try:
        return built(entry, build())
    except Unsuitable:
        raise
    except ValueError as error:
        raise NoTrunk(str(error)) from error
