"""One part, as its source states it: what it is called, whose it is, and what a matrix may set of it."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Optional, Union

import annotated_types

from bench.matrix import plugin_import
from bench.matrix.plugin_file import Plugin
from bench.matrix.pml_arguments import GROUPS
from losses.tuned import Tuned

__all__ = ["NAMESPACE", "PML", "Entry", "Parameter"]

PML = "pml/"
"""What the names of losses of pytorch-metric-learning begin with."""

NAMESPACE = {**vars(annotated_types), "Annotated": Annotated, "Literal": Literal, "Sequence": Sequence, "Tuned": Tuned}
NAMESPACE |= {"Optional": Optional, "Union": Union}
NAMESPACE |= dict.fromkeys(GROUPS.values(), Any)  # checked by `pml_parts`
"""What the names in an annotation stand for."""


class Parameter(NamedTuple):
    """One keyword-only argument of a part."""

    name: str
    annotation: str
    default: Any
    required: bool

    @property
    def tuned(self) -> Tuned | None:
        """Where a search tries values; None where it leaves the parameter alone."""
        metadata = getattr(eval(self.annotation, NAMESPACE), "__metadata__", ())  # our own source
        return next((found for found in metadata if isinstance(found, Tuned)), None)

    @property
    def whole(self) -> bool:
        """Whether its values are whole numbers."""
        return getattr(eval(self.annotation, NAMESPACE), "__origin__", None) is int


class Entry(NamedTuple):
    """One public function, as its source states it."""

    kind: str
    name: str
    module: str
    label: str
    """First line of the docstring: what it is, with its citation."""
    text: str
    """The whole docstring."""
    positional: tuple[str, ...]
    parameters: dict[str, Parameter]
    plugin: Plugin | None = None
    """Where it is from, if it is not lossbench's own."""

    @property
    def source(self) -> str:
        """Whose it is, for a sentence."""
        return self.plugin.shown if self.plugin else "lossbench"

    @property
    def file(self) -> Path | None:
        """Of a plugin's part its file."""
        return self.plugin.file if self.plugin else None

    @property
    def family(self) -> str:
        """The file it is in, "pair" for losses/pair.py."""
        return self.module.rpartition(".")[2]

    @property
    def citation(self) -> str:
        """What the label has in brackets; empty where it has none."""
        return self.label.partition("(")[2].rpartition(")")[0]

    @property
    def trains(self) -> str:
        """What parameters a loss has of its own, the docstring's line "Trains: ..."; empty for none."""
        return self._line("Trains: ").removesuffix(".")

    @property
    def needs(self) -> tuple[str, ...]:
        """What a loss cannot do without, the docstring's line "Needs: ...": "text", "P × K batches"."""
        line = self._line("Needs: ").removesuffix(".")
        return tuple(line.split("; ")) if line else ()

    def _line(self, start: str) -> str:
        return next((line.removeprefix(start) for line in self.text.splitlines() if line.startswith(start)), "")

    def function(self) -> Callable[..., Any]:
        """The function itself; this imports its module.

        Raises:
            PluginError: it is a plugin's, which cannot be imported.
        """
        if self.plugin:
            return plugin_import.function(self.plugin, self.name)
        found: Callable[..., Any] = getattr(importlib.import_module(self.module), self.name.removeprefix(PML))
        return found
