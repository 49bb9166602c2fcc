"""What a class of pytorch-metric-learning can be given, from its syntax tree and those of its base classes."""

import ast
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

__all__ = [
    "FOLDERS",
    "GIVEN",
    "GROUPS",
    "INITIALIZERS",
    "PARTS",
    "Argument",
    "arguments",
    "initial",
    "is_name",
    "method",
]

GROUPS = {
    "losses": "loss",
    "miners": "miner",
    "distances": "distance",
    "reducers": "reducer",
    "regularizers": "regularizer",
    "initializers": "initializer",
}
"""What parts there are -> what one of them is called."""

FOLDERS = tuple(GROUPS)[:-1]
"""Of the package, named like the parts in them."""

INITIALIZERS: dict[str, dict[str, float | str]] = {
    "normal_": {"mean": 0.0, "std": 1.0},
    "uniform_": {"a": 0.0, "b": 1.0},
    "trunc_normal_": {"mean": 0.0, "std": 1.0, "a": -2.0, "b": 2.0},
    "xavier_normal_": {"gain": 1.0},
    "xavier_uniform_": {"gain": 1.0},
    "orthogonal_": {"gain": 1.0},
    "kaiming_normal_": {"a": 0.0, "mode": "fan_in", "nonlinearity": "leaky_relu"},
    "kaiming_uniform_": {"a": 0.0, "mode": "fan_in", "nonlinearity": "leaky_relu"},
}
"""Functions of torch.nn.init that draw a matrix of weights, and their defaults."""

PARTS = {
    "loss": "losses",
    "miner": "miners",
    "distance": "distances",
    "reducer": "reducers",
    "default_reducer": "reducers",
    "embedding_regularizer": "regularizers",
    "weight_regularizer": "regularizers",
    "weight_init_func": "initializers",
}
"""Parameters that are parts themselves -> the group they are from."""

GIVEN = {"num_classes": "classes", "embedding_size": "dim", "descriptors_dim": "dim", "l": "dim"}
"""Parameters that nobody needs to set, since the dataset and the model decide them -> the field of a Shape."""

UNSETTABLE = frozenset({"collect_stats", "aggregation_func", "iter_fn"})
"""Python functions, which a matrix cannot hold, and statistics, which nobody would see."""

NUMBER = "float"

COUNT = "Annotated[int, Ge(1)]"

ANNOTATIONS = {
    "type_of_triplets": "Literal['all', 'hard', 'semihard', 'easy']",
    "triplets_per_anchor": "Literal['all'] | Annotated[int, Ge(1)]",
    "pos_strategy": "Literal['hard', 'semihard', 'easy', 'all']",
    "neg_strategy": "Literal['hard', 'semihard', 'easy', 'all']",
    "variant": "Literal['Ds', 'Dq', 'Iu', 'Ib', 'O']",
    "weights": "Sequence[float]",
    "allowed_pos_range": "Sequence[float] | None",
    "allowed_neg_range": "Sequence[float] | None",
    "reducers": "dict[str, reducer]",
    "num_classes": "bool",
    "mode": "Literal['fan_in', 'fan_out']",
    **dict.fromkeys(("centers_per_class", "sub_centers", "num_bins", "memory_size"), COUNT),
    **dict.fromkeys(("pos_per_bin", "neg_per_bin", "K"), COUNT),
}
"""What the source does not say of parameters: it has no annotation, and the default does not tell."""


class Argument(NamedTuple):
    """One argument of a class."""

    name: str
    annotation: str
    """As Python writes types; a part's is its kind, such as "miner". Empty where a matrix cannot hold the default."""
    default: Any
    """Of a part that has a default: a table of its name and the parameters that the source sets."""
    required: bool


def arguments(lineage: list[ast.ClassDef]) -> dict[str, Argument]:
    """All arguments of the first class, by name: what a matrix may set, and what the harness sets.

    Args:
        lineage: the class and its bases, in the order in which methods are looked up.
    """
    return {each.name: each for each in _arguments(lineage) if each.annotation and each.name not in UNSETTABLE}


def initial(name: str) -> dict[str, Argument]:
    """The arguments of a function of torch.nn.init."""
    return {
        each: Argument(each, ANNOTATIONS.get(each) or _type_of(value), value, required=False)
        for each, value in INITIALIZERS[name].items()
    }


def method(lineage: list[ast.ClassDef], name: str) -> ast.FunctionDef | None:
    """The method of that name that Python would call."""
    found = (node for one in lineage for node in one.body if isinstance(node, ast.FunctionDef) and node.name == name)
    return next(found, None)


def _arguments(lineage: list[ast.ClassDef]) -> Iterator[Argument]:
    """What may be passed by name: own arguments, and those of base classes that nothing before them has settled."""
    settled: set[str] = set()
    for one in lineage:
        init = method([one], "__init__")
        if init is None:
            continue
        for argument in _own(init, lineage):
            if argument.name not in settled:
                settled.add(argument.name)
                yield argument
        settled |= {keyword.arg for call in _super_calls(init) for keyword in call.keywords if keyword.arg}
        if init.args.kwarg is None:
            return


def _own(init: ast.FunctionDef, lineage: list[ast.ClassDef]) -> Iterator[Argument]:
    arguments = [*init.args.args[1:], *init.args.kwonlyargs]
    without = len(init.args.args) - 1 - len(init.args.defaults)
    defaults = [*[None] * without, *init.args.defaults, *init.args.kw_defaults]
    for argument, default in zip(arguments, defaults, strict=True):
        yield _argument(argument, default, lineage)
    for node in ast.walk(init):  # kwargs["num_classes"]
        if isinstance(node, ast.Subscript) and is_name(node.value, "kwargs") and isinstance(node.slice, ast.Constant):
            yield Argument(str(node.slice.value), NUMBER, None, required=True)


def _argument(argument: ast.arg, default: ast.expr | None, lineage: list[ast.ClassDef]) -> Argument:
    name, required = argument.arg, default is None
    try:
        value: Any = None if default is None else _constant(default, lineage)
    except ValueError:
        return Argument(name, "", None, required=False)
    if name in ("distance", "reducer", "weight_init_func"):
        value = value or _default_part(lineage, f"get_default_{name}")
    if name == "num_classes":
        value = False
    written = argument.annotation.id if isinstance(argument.annotation, ast.Name) else ""
    annotation = GROUPS[PARTS[name]] if name in PARTS else ANNOTATIONS.get(name) or written or _type_of(value)
    if value is None and not required and "None" not in annotation:
        annotation += " | None"
    return Argument(name, annotation, float(value) if annotation == NUMBER and not required else value, required)


def _type_of(default: Any) -> str:
    """The type of which a default is an example; most parameters are numbers."""
    return type(default).__name__ if isinstance(default, bool | str) else NUMBER


def _constant(node: ast.expr, lineage: Sequence[ast.ClassDef] = ()) -> Any:
    """The value of a default: a literal, a square root of one, or the name of one in the class; else ValueError."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "math.sqrt":
        return math.sqrt(ast.literal_eval(node.args[0]))
    if isinstance(node, ast.Name):
        assigned = [each for one in lineage for each in one.body if isinstance(each, ast.Assign)]
        node = next((each.value for each in assigned if is_name(each.targets[0], node.id)), node)
    return ast.literal_eval(node)


def _default_part(lineage: list[ast.ClassDef], getter: str) -> dict[str, Any] | None:
    """What a method such as `get_default_distance` builds, as a table; None where that cannot be told."""
    found = method(lineage, getter)
    last = found.body[-1] if found else None
    if not (isinstance(last, ast.Return) and isinstance(last.value, ast.Call)):
        return None
    call, positional = last.value, [ast.unparse(each) for each in last.value.args]
    name = positional[0] if positional else ast.unparse(call.func)  # TorchInitWrapper(torch.nn.init.normal_)
    settings = {each.arg: _constant(each.value) for each in call.keywords if each.arg}
    return {"name": name.rpartition(".")[2], **settings}


def _super_calls(init: ast.FunctionDef) -> list[ast.Call]:
    calls = [node for node in ast.walk(init) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    return [call for call in calls if ast.unparse(call.func) == "super().__init__"]


def is_name(node: ast.AST, name: str) -> bool:
    """Whether a piece of code is this name and nothing else."""
    return isinstance(node, ast.Name) and node.id == name
