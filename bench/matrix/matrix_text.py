"""A matrix as the text of a matrix file."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from bench.matrix.file import Matrix
from bench.matrix.job import Part

__all__ = ["written"]

ENTRIES = ("datasets", "backbones", "losses", "ensembles", "model_ensembles", "students", "floors")


def written(matrix: Matrix, *, headline: str) -> str:
    """TOML that reads as the same matrix, one entry a line; what is at its default is left out."""
    lines = [f"# {' '.join(headline.split())}"]
    for kind in ENTRIES:
        if parts := getattr(matrix, kind):
            lines += [f"{kind} = [", *(f"  {_value(_entry(part))}," for part in parts), "]"]
    lines += [f"seeds = {_value(list(matrix.seeds))}"] + ([] if matrix.controls else ["controls = false"])
    lines += _table("recipe", matrix.recipe.model_dump(mode="json", exclude_defaults=True))
    lines += _table("searched", matrix.searched.model_dump(mode="json")) if matrix.searched else []
    return "\n".join(lines) + "\n"


def _table(name: str, values: Mapping[str, Any]) -> list[str]:
    pairs = _pairs(values)
    return ["", f"[{name}]", *pairs] if pairs else []


def _entry(part: Part) -> str | dict[str, Any]:
    """A name, or a table of a name and what is set."""
    own = {"label": part.label, "recipe": part.recipe, "members": [_entry(member) for member in part.members]}
    seeds = {"seeds": part.seeds} if part.seeds > 1 else {}
    table = {"name": part.name, **part.parameters, **{key: value for key, value in own.items() if value}, **seeds}
    return part.name if len(table) == 1 else table


def _pairs(values: Mapping[str, Any]) -> list[str]:
    """KEY = VALUE; None, which TOML does not have, is what a field is without it."""
    return [f"{_key(key)} = {_value(value)}" for key, value in values.items() if value is not None]


def _key(key: str) -> str:
    return key if key.isascii() and key.replace("_", "").replace("-", "").isalnum() else _value(key)


def _value(value: Any) -> str:
    """A value of TOML on one line."""
    if isinstance(value, str):  # a string of JSON, but for one control character that only TOML refuses
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return f"{{ {', '.join(_pairs(value))} }}"
    if isinstance(value, Iterable):
        return f"[{', '.join(map(_value, value))}]"
    return str(value).lower() if isinstance(value, bool) else repr(value)
