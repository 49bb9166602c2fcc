"""What pytorch-metric-learning offers, read from its source without importing it: that would take seconds, and torch.

Its losses, miners, distances, reducers and regularizers are classes whose `**kwargs` go on to base classes. What one of
them accepts is put together from all the `__init__` that its arguments reach.
"""

import ast
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from bench.matrix.pml_arguments import (
    FOLDERS,
    GIVEN,
    GROUPS,
    INITIALIZERS,
    Argument,
    arguments,
    initial,
    is_name,
    method,
)

__all__ = ["Made", "made", "pml_version"]

PACKAGE = "pytorch_metric_learning"


class Made(NamedTuple):
    """One class, as the source states it."""

    group: str
    name: str
    module: str
    label: str
    arguments: dict[str, Argument]
    """What may be set."""
    given: tuple[str, ...]
    """What the harness sets: keys of GIVEN."""
    mines: bool
    """Whether a loss looks at what a miner found."""
    wraps: tuple[str, ...]
    """Names of the losses that this one can hold; empty for most."""


class Source(NamedTuple):
    """Where a class is defined, and its syntax tree."""

    module: str
    node: ast.ClassDef


def pml_version() -> str:
    """The version that is installed."""
    return version("pytorch-metric-learning")


@cache
def made(group: str) -> dict[str, Made]:
    """The classes of a group that can be built, by name: no base classes and no mixins.

    Raises:
        LookupError: pytorch-metric-learning is not installed.
    """
    if group == "initializers":
        label = "Initializer of weights, of torch.nn.init"
        return {name: Made(group, name, "torch.nn.init", label, initial(name), (), False, ()) for name in INITIALIZERS}
    tree = ast.parse((_folder() / group / "__init__.py").read_text(encoding="utf-8"))
    names = [each.name for node in tree.body if isinstance(node, ast.ImportFrom) for each in node.names]
    kept = [name for name in names if not name.startswith(("Base", "Batched", "Generic")) and "Mixin" not in name]
    return {name: _made(group, name) for name in kept}


def _folder() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise LookupError("pytorch-metric-learning is not installed; pip install pytorch-metric-learning")
    return Path(spec.submodule_search_locations[0])


@cache
def _sources() -> dict[str, Source]:
    """Every class of the package that could be a part or the base of one."""
    files = [file for group in FOLDERS for file in sorted((_folder() / group).glob("*.py"))]
    files += sorted((_folder() / "utils").glob("module_with_records*.py"))
    return {
        node.name: Source(".".join((PACKAGE, file.parent.name, file.stem)), node)
        for file in files
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    }


@cache
def _stand_in(name: str) -> type:
    """An empty class with the same bases, so that Python itself says in which order they are asked."""
    bases = [base.id for base in _sources()[name].node.bases if isinstance(base, ast.Name)]
    return type(name, tuple(_stand_in(base) for base in bases if base in _sources()), {})


def _lineage(name: str) -> list[ast.ClassDef]:
    """The class and its bases, in the order in which methods are looked up."""
    return [_sources()[one.__name__].node for one in _stand_in(name).__mro__ if one is not object]


def _made(group: str, name: str) -> Made:
    lineage = _lineage(name)
    found = arguments(lineage)
    given = tuple(each for each, argument in found.items() if each in GIVEN and argument.required)
    text = ast.get_docstring(lineage[0]) or ""
    label = f"{GROUPS[group].capitalize()} of pytorch-metric-learning" + (f" ({link})" if (link := _link(text)) else "")
    return Made(
        group=group,
        name=name,
        module=_sources()[name].module,
        label=label,
        arguments={each: argument for each, argument in found.items() if each not in given},
        given=given,
        mines=group == "losses" and _mines(lineage),
        wraps=_wraps(lineage),
    )


def _link(text: str) -> str:
    """The paper that a docstring points to: most of them say nothing else."""
    return next((word.strip(".,()") for word in text.split() if "https://" in word), "").partition("https://")[2]


def _mines(lineage: list[ast.ClassDef]) -> bool:
    """Whether the loss reads the indices of a miner, other than to refuse them."""
    body = method(lineage, "compute_loss")
    if body is None or "indices_tuple_not_supported" in ast.unparse(body):
        return False
    return any(is_name(node, "indices_tuple") and isinstance(node.ctx, ast.Load) for node in ast.walk(body))  # type: ignore[attr-defined]


def _wraps(lineage: list[ast.ClassDef]) -> tuple[str, ...]:
    found = method(lineage, "supported_losses")
    last = found.body[-1] if found else None
    return tuple(ast.literal_eval(last.value)) if isinstance(last, ast.Return) and last.value else ()
