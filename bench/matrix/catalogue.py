"""What there is to choose from, read from the source without importing it.

A part (loss, ensemble, dataset, backbone, model ensemble, metric) is a public function: its name is in the `__all__`
of its file, the first line of its docstring is its label, its keyword-only arguments are what a matrix may set. Reading
the syntax tree instead of importing keeps planning and listing free of torch. Plugins add parts of their own.
"""

import ast
import difflib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from bench.matrix import pml_source
from bench.matrix.entry import NAMESPACE, PML, Entry, Parameter
from bench.matrix.plugin_file import Plugin, functions, unreadable
from bench.matrix.plugins_in_use import used

__all__ = [
    "FEATURES",
    "KINDS",
    "PML",
    "VECTORS",
    "Entry",
    "Parameter",
    "check",
    "common",
    "did_you_mean",
    "entries",
    "find",
    "own_entries",
    "plugin_entries",
    "pml_entries",
]

BENCH = Path(__file__).parents[1]
LOSSES = BENCH.parent / "losses"

KINDS = {
    "losses": (LOSSES, "*.py", ("shape",)),
    "ensembles": (LOSSES, "*.py", ("shape", "members")),
    "datasets": (BENCH / "datasets", "*.py", ("data",)),
    "backbones": (BENCH / "job", "backbones.py", None),
    "model_ensembles": (BENCH / "job", "fusion*.py", None),
    "students": (BENCH / "job", "students.py", ("objective", "teacher")),
    "floors": (BENCH / "job", "floors.py", None),
    "metrics": (BENCH / "scoring", "metrics.py", None),
    "diagnostics": (BENCH / "scoring", "diagnostics.py", ("embedded",)),
}
"""Kind -> folder, files, and the positional arguments that tell its functions from others (None: every function)."""

VECTORS = ("width",)
"""Positional arguments of a backbone of vectors."""
FEATURES = ("features",)
"""Positional arguments of a floor of what a trunk makes of the pictures."""
HEAD = ("norm", "head", "hidden")
"""Common parameters of backbones that concern the head."""
NEAR = 10
"""How many known words a sentence about an unknown one names at most."""


def entries(kind: str) -> dict[str, Entry]:
    """Every part of a kind, by name, those of the plugins in use last.

    Raises:
        KeyError: the kind is not in KINDS.
    """
    return _entries(kind, used())


@cache
def _entries(kind: str, plugins: tuple[Plugin, ...]) -> dict[str, Entry]:
    own = own_entries(kind)
    added = {entry.name: entry for entry in plugin_entries(kind, plugins)}
    return own | {name: entry for name, entry in added.items() if name not in own} if added else own


def plugin_entries(kind: str, plugins: tuple[Plugin, ...]) -> list[Entry]:
    """The parts of a kind that plugins have, but for those with parameters that no matrix could set."""
    nodes = [(plugin, node) for plugin in plugins for node in functions(plugin, kind) if not any(unreadable(node))]
    found = [_entry(kind, plugin.module, node)._replace(plugin=plugin) for plugin, node in nodes]
    named = [entry if entry.label else entry._replace(label=entry.name.replace("_", " ")) for entry in found]
    return list(_with_common_parameters({e.name: e for e in named}).values()) if kind == "backbones" else named


@cache
def own_entries(kind: str) -> dict[str, Entry]:
    """Every part of a kind that lossbench has itself, by name."""
    folder, pattern, positional = KINDS[kind]
    found = {
        node.name: _entry(kind, source.module, node)
        for source in map(_source, sorted(folder.glob(pattern)))
        for node in source.functions
        if positional is None or _given(node) == positional
    }
    return {**found, **_with_common_parameters(found)} if kind == "backbones" else found


def find(kind: str, name: str) -> Entry:
    """The part of that name; `timm/resnet18` is the backbone `timm`, told which model.

    `pml/TripletMarginLoss` is that class of pytorch-metric-learning.

    Raises:
        LookupError: no such part; the sentence asks "did you mean ...?".
    """
    if kind == "losses" and name.lower().startswith(PML):
        return _of_pml(name)
    known = entries(kind)
    stem, slash, _ = name.partition("/")
    if stem in known and ("model" in known[stem].positional) == bool(slash):
        return known[stem]
    shown = [f"{entry.name}/NAME" if "model" in entry.positional else entry.name for entry in known.values()]
    if kind == "losses" and PML + name in pml_entries(kind):
        shown = [PML + name]
    raise LookupError(f"there is no {_singular(kind)} {name!r}{did_you_mean(name, shown)}")


@cache
def pml_entries(group: str) -> dict[str, Entry]:
    """The losses, miners, distances, reducers or regularizers of pytorch-metric-learning, by name in a matrix.

    Raises:
        LookupError: it is not installed.
    """
    start = PML if group == "losses" else ""
    return {start + name: _pml_entry(start + name, made) for name, made in pml_source.made(group).items()}


def _of_pml(name: str) -> Entry:
    known = pml_entries("losses")
    if name not in known:
        raise LookupError(f"there is no loss {name!r} in pytorch-metric-learning{did_you_mean(name, known)}")
    return known[name]


def _pml_entry(name: str, made: pml_source.Made) -> Entry:
    parameters = {each.name: Parameter(*each) for each in made.arguments.values()}
    if made.mines:
        parameters["miner"] = Parameter("miner", "miner | None", None, required=False)
    own = "Trains: vectors per class." if "num_classes" in made.given else "Needs: P × K batches."
    return Entry(
        kind=made.group,
        name=name,
        module=made.module,
        label=made.label,
        text=f"{made.label}\n\n{own if made.group == 'losses' else ''}",
        positional=made.given,
        parameters=parameters,
    )


def check(entry: Entry, parameters: dict[str, Any]) -> dict[str, Any]:
    """All parameters of a part: the given ones checked against their annotations, the others at their defaults.

    Raises:
        LookupError: a parameter that the part does not have, or one that it needs and was not given.
        ValueError: a value of the wrong type or out of bounds.
    """
    for name in parameters.keys() - entry.parameters.keys():
        raise LookupError(f"{entry.name} has no parameter {name!r}{did_you_mean(name, entry.parameters)}")
    for name, parameter in entry.parameters.items():
        if parameter.required and name not in parameters:
            raise LookupError(f"{entry.name} needs the parameter {name!r}: {parameter.annotation}")
    return {name: _checked(entry, p, parameters[name]) if name in parameters else p.default
            for name, p in entry.parameters.items()}  # fmt: skip


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A clause that ends a sentence about an unknown word: the nearest known one, else all, or of many the nearest."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    if len(known) > NEAR:
        nearest = difflib.get_close_matches(word, known, n=NEAR, cutoff=0.0)
        return f"; the nearest of {len(known):,} are {', '.join(nearest)}"
    return f"; known: {', '.join(sorted(known))}" if known else "; there are none"


def _singular(kind: str) -> str:
    return {"losses": "loss"}.get(kind, kind.removesuffix("s").replace("_", " "))


def _checked(entry: Entry, parameter: Parameter, value: Any) -> Any:
    try:
        return _adapter(parameter.annotation).validate_json(json.dumps(value), strict=True)
    except (ValidationError, TypeError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise ValueError(f"{entry.name}: {parameter.name} = {value!r} is not possible; {_lower(why)}") from None


@cache
def _adapter(annotation: str) -> TypeAdapter[Any]:
    return TypeAdapter(eval(annotation, NAMESPACE))  # our own source, or what `unreadable` lets through


def _lower(sentence: str) -> str:
    return (sentence[:1].lower() + sentence[1:]).replace("input should", "it should")


class _Source(NamedTuple):
    """The public functions of a file."""

    module: str
    functions: tuple[ast.FunctionDef, ...]


@cache
def _source(file: Path) -> _Source:
    """Read once, whatever kinds of parts it has: to parse all files takes longer than the rest of a plan."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    public = {name for node in tree.body for name in _public_names(node)}
    module = ".".join(file.relative_to(BENCH.parent).with_suffix("").parts)
    return _Source(
        module, tuple(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in public)
    )


def _public_names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
        names: list[str] = ast.literal_eval(node.value)
        return names
    return []


def _entry(kind: str, module: str, node: ast.FunctionDef) -> Entry:
    text = ast.get_docstring(node) or ""
    parameters = [_parameter(a, d) for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
    return Entry(
        kind=kind,
        name=node.name,
        module=module,
        label=text.partition("\n")[0],
        text=text,
        positional=_given(node),
        parameters={p.name: p for p in parameters},
    )


def _given(node: ast.FunctionDef) -> tuple[str, ...]:
    """The names of its positional arguments, of which unused ones are underscored."""
    return tuple(argument.arg.lstrip("_") for argument in node.args.args)


def _parameter(argument: ast.arg, default: ast.expr | None) -> Parameter:
    annotation = ast.unparse(argument.annotation) if argument.annotation else "Any"
    value = None if default is None else ast.literal_eval(default)
    return Parameter(argument.arg, annotation, value, default is None)


def _with_common_parameters(backbones: dict[str, Entry]) -> dict[str, Entry]:
    return {name: e._replace(parameters=e.parameters | common(e.positional)) for name, e in backbones.items()}


@cache
def common(positional: tuple[str, ...]) -> dict[str, Parameter]:
    """What every backbone has beside its own: pooling, head, weights, the fields of `bench.job.network.Options`.

    A backbone of vectors has nothing to pool and no weights: it has those of the head alone.
    """
    tree = ast.parse((BENCH / "job" / "network.py").read_text(encoding="utf-8"))
    (options,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Options"]
    fields = [_field(node) for node in options.body if isinstance(node, ast.AnnAssign)]
    return {one.name: one for one in fields if positional != VECTORS or one.name in HEAD}


def _field(node: ast.AnnAssign) -> Parameter:
    return _parameter(ast.arg(ast.unparse(node.target), node.annotation), node.value)
