"""A plugin: a Python file of the user's, or a module of an installed package, read without importing it.

Its public functions are parts. The names of a function's positional arguments say which kind it is (`POSITIONAL`), its
keyword-only arguments are what a matrix may set. Its content, with that of the local modules that it imports, decides
what its parts compute: so the hash of both goes into the keys of their jobs.
"""

import ast
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from bench.matrix.job import ConfigError

__all__ = ["POSITIONAL", "Plugin", "PluginError", "functions", "local_modules", "problems", "read", "unreadable"]

POSITIONAL = {
    ("shape",): "losses",
    ("shape", "members"): "ensembles",
    ("channels",): "backbones",
    ("width",): "backbones",
    ("data",): "datasets",
    ("members",): "model_ensembles",
    ("split",): "floors",
    ("features",): "floors",
    ("ranking",): "metrics",
    ("ranking", "k"): "metrics",
    ("clustering",): "metrics",
}
"""Positional arguments of a function -> the kind of part that it is."""

TYPES = frozenset({"bool", "int", "float", "str", "list", "tuple", "dict", "Sequence", "Literal", "Optional", "Union"})
TYPES |= {"Annotated", "Ge", "Gt", "Le", "Lt", "MultipleOf", "Tuned"}
"""What an annotation may be made of."""

OTHERS = sys.stdlib_module_names | {"bench", "losses"}
"""Never a plugin's own modules, whatever stands in its folder."""


class PluginError(ConfigError):
    """A plugin cannot be used as it is; one sentence says why, and what to do."""


class Plugin(NamedTuple):
    """One file of parts, as it was when it was read."""

    shown: str
    """What sentences call it: the file as the user gave it, or the package."""
    file: Path
    module: str
    """Of an installed package, what it is imported as; of a file its name without `.py`."""
    root: Path
    """The folder in which its local modules are looked for."""
    source: bytes
    sha: str
    """SHA-256 over its content and that of its local modules."""
    package: bool = False
    """Whether it is a module of an installed package."""
    kind: str | None = None
    """Of an installed package the one kind that is offered; None: all."""
    only: str | None = None
    """Of an installed package the one function that is offered; None: all."""


def read(file: Path, shown: str) -> Plugin:
    """The plugin in a file of the user's.

    Raises:
        PluginError: there is no such file, it is not Python, or has no part that can be used.
    """
    source = _content(file, shown)
    place = file.resolve()
    plugin = Plugin(shown, place, place.stem, place.parent, source, "")
    tree(plugin)
    plugin = plugin._replace(sha=digest(plugin))
    if not any(True for kind in dict.fromkeys(POSITIONAL.values()) for _ in functions(plugin, kind)):
        raise PluginError(f"{shown}: {_nothing(plugin)}")
    return plugin


def tree(plugin: Plugin) -> ast.Module:
    """The syntax tree of a plugin.

    Raises:
        PluginError: it is not Python; the sentence names the line.
    """
    return _parsed(plugin.source, plugin.shown)


@cache
def _parsed(source: bytes, shown: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError as error:
        where = f"line {error.lineno}" if error.lineno else "it"
        raise PluginError(f"{shown}: {where} is not Python ({error.msg}): mend it") from None
    except ValueError as error:  # what Python 3.11 says of null bytes
        raise PluginError(f"{shown}: it is not Python ({error}): name a Python file") from None


def _content(file: Path, shown: str) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise PluginError(f"{shown}: there is no such file; name a Python file") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise PluginError(f"{shown}: cannot be opened ({reason}); name a Python file") from None


def functions(plugin: Plugin, kind: str) -> Iterator[ast.FunctionDef]:
    """The parts of one kind: public functions, those of `__all__` where there is one, told by positional arguments."""
    if plugin.kind not in (None, kind):
        return
    for node in _public(plugin):
        if plugin.only in (None, node.name) and kind_of(node) == kind:
            yield node


def kind_of(node: ast.FunctionDef) -> str | None:
    """The kind that a function is of by its positional arguments; None for none."""
    arguments = node.args
    if arguments.vararg or arguments.kwarg or arguments.defaults or arguments.posonlyargs:
        return None
    return POSITIONAL.get(tuple(each.arg.lstrip("_") for each in arguments.args))


def _public(plugin: Plugin) -> list[ast.FunctionDef]:
    body = tree(plugin).body
    stated = [node.value for node in body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"]
    defined = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
    if not stated:
        return [node for name, node in defined.items() if not name.startswith("_")]
    try:
        names = [str(name) for name in ast.literal_eval(stated[-1])]
    except (ValueError, TypeError):
        raise PluginError(f"{plugin.shown}: write __all__ as a plain list of names") from None
    return [defined[name] for name in names if name in defined]


def _nothing(plugin: Plugin) -> str:
    """Why a file without a part has none."""
    advice = "a loss begins with def NAME(shape, *, ...), and bench test-plugin --help shows the other kinds"
    for node in _public(plugin):
        if sentence := misplaced(node):
            return sentence
    shown = [f"{node.name}({', '.join(each.arg for each in node.args.args)})" for node in _public(plugin)]
    return f"no function here is a part ({', '.join(shown[:3]) or 'it has no public function'}): {advice}"


def misplaced(node: ast.FunctionDef) -> str | None:
    """What to do with a function that only lacks the `*` before its parameters; None for any other."""
    names = tuple(each.arg.lstrip("_") for each in node.args.args)
    fits = [known for known in POSITIONAL if names[: len(known)] == known and len(names) > len(known)]
    if not fits or kind_of(node):
        return None
    first = max(fits, key=len)
    written = f"def {node.name}({', '.join(first)}, *, {names[len(first)]}"
    return f"{node.name}: put a * before {names[len(first)]!r}, as in {written}, ...)"


def problems(plugin: Plugin) -> list[str]:
    """What is wrong with the parameters of the parts, one sentence each."""
    kinds = dict.fromkeys(POSITIONAL.values())
    parts = [node for kind in kinds for node in functions(plugin, kind)]
    return [f"{plugin.shown}: {node.name}: {sentence}" for node in parts for sentence in unreadable(node)]


def unreadable(node: ast.FunctionDef) -> Iterator[str]:
    """What no matrix could set of a part, one clause each."""
    arguments = node.args
    if kind_of(node) == "metrics" and arguments.kwonlyargs:
        yield f"a matrix cannot set {arguments.kwonlyargs[0].arg!r} of a metric: leave the argument out"
        return
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        name = argument.arg
        if argument.annotation is None:
            yield f"say what {name!r} may be, as in {name}: float = 1.0"
        elif isinstance(annotation := argument.annotation, ast.Constant) and isinstance(annotation.value, str):
            yield f"write the type of {name!r} without quotes: {annotation.value}"
        elif unknown := _unknown(argument.annotation):
            known = "bool, int, float, str, Literal, list, tuple, dict, None and Annotated with Ge, Gt, Le or Lt"
            yield f"the type of {name!r} has {unknown!r}, which a matrix cannot set: use {known}"
        if default is not None and not _plain(default):
            yield f"the default of {name!r}, {ast.unparse(default)}, is no plain value: write a number, text or a list"


def _unknown(annotation: ast.expr) -> str | None:
    """The first piece of an annotation that no matrix can set."""
    if isinstance(annotation, ast.Constant) and annotation.value is not None:
        return str(annotation.value)
    allowed = (ast.Constant, ast.Subscript, ast.Tuple, ast.BinOp, ast.BitOr, ast.Call, ast.keyword, ast.Load)
    signed = (ast.UnaryOp, ast.USub)
    for node in ast.walk(annotation):
        if isinstance(node, ast.Name) and node.id not in TYPES:
            return node.id
        if not isinstance(node, (ast.Name, *allowed, *signed)):
            return ast.unparse(node) or type(node).__name__
    return None


def _plain(default: ast.expr) -> bool:
    try:
        json.dumps(ast.literal_eval(default), allow_nan=False)
    except (ValueError, TypeError):
        return False
    return True


def digest(plugin: Plugin) -> str:
    """SHA-256 of the content of a plugin; with local modules, over theirs too.

    Raises:
        PluginError: a local module is not Python.
    """
    whole = hashlib.sha256(plugin.source)
    for name, file in sorted(local_modules(plugin).items()):
        whole.update(json.dumps([name, hashlib.sha256(file.read_bytes()).hexdigest()]).encode())
    return whole.hexdigest()


def local_modules(plugin: Plugin) -> Mapping[str, Path]:
    """The modules in its own folder, or own package, that a plugin imports: name -> file, also those of these."""
    found: dict[str, Path] = {}
    waiting = [(plugin.file, plugin.source)]
    while waiting:
        file, source = waiting.pop()
        for name in _imports(_parsed(source, plugin.shown if file == plugin.file else str(file)), file, plugin.root):
            first = name.partition(".")[0]
            if first in OTHERS or (plugin.package and first != plugin.module.partition(".")[0]):
                continue
            for inside in _files(name, plugin.root):
                if inside != plugin.file and inside not in found.values():
                    found[inside.relative_to(plugin.root).as_posix()] = inside
                    waiting.append((inside, inside.read_bytes()))
    return found


def _imports(parsed: ast.Module, file: Path, root: Path) -> Iterator[str]:
    """The full names of what a module imports, as far as they may be modules."""
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            folder = file.parents[node.level - 1] if 0 < node.level <= len(file.parents) else root
            base = folder.relative_to(root).parts if folder.is_relative_to(root) else ()
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{stem}.{each.name}".strip(".") for each in node.names)


def _files(name: str, root: Path) -> Iterator[Path]:
    """What importing a dotted name reads below a folder: the packages on the way, and the module."""
    place = root
    for part in name.split("."):
        for file in (place / part / "__init__.py", place / f"{part}.py"):
            if file.is_file():
                yield file
                break
        place = place / part
