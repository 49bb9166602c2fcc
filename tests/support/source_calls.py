"""Every call in the project's own source, by its name as it is written."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Call", "calls"]

ROOT = Path(__file__).parents[2]


class Call(NamedTuple):
    """One call."""

    file: str
    """Below the root of the repository."""
    name: str
    """As in "torch.load"; a method of something computed is "?.load"."""
    options: dict[str, str]
    """The source of its keyword arguments."""


def calls(*folders: str) -> Iterator[Call]:
    """Every call below these folders."""
    for file in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                options = {word.arg or "**": ast.unparse(word.value) for word in node.keywords}
                yield Call(file.relative_to(ROOT).as_posix(), _name(node.func), options)


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Name):
        return function.id
    if isinstance(function, ast.Attribute):
        return f"{_name(function.value)}.{function.attr}"
    return "?"
