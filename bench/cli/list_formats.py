"""What `bench list` shows: parts as text, as JSON values, and as Markdown tables."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from bench.matrix.catalogue import Entry, Parameter
from bench.matrix.recipe import Recipe
from bench.store.columns import documented

__all__ = ["columns", "columns_markdown", "describe", "lines", "markdown", "recipe"]


def describe(entry: Entry) -> dict[str, Any]:
    """The entry as JSON values; of a loss also its family, citation, what it trains and what it needs."""
    parameters = [
        {"name": p.name, "type": p.annotation, "default": p.default, "required": p.required}
        for p in entry.parameters.values()
    ]
    own: dict[str, Any] = {}
    if entry.kind == "losses":
        own = {"family": entry.family, "citation": entry.citation, "trains": entry.trains, "needs": list(entry.needs)}
    return {"name": entry.name, "label": entry.label, "module": entry.module, **own, "parameters": parameters}


def recipe() -> list[dict[str, Any]]:
    """The fields of a recipe, each with its default as JSON and what it means."""
    defaults = Recipe().model_dump(mode="json")
    fields = Recipe.model_fields.items()
    return [{"name": name, "default": defaults[name], "label": field.description or ""} for name, field in fields]


def columns() -> list[dict[str, Any]]:
    """The columns of a row: name, role, type and meaning."""
    return [
        {"name": name, "role": column.role, "type": str(column.type), "label": column.meaning}
        for column in documented()
        for name in column.names
    ]


def columns_markdown() -> list[str]:
    """The table of results/README.md, line by line."""
    rows = [(", ".join(f"`{name}`" for name in c.names), c.role, c.meaning) for c in documented()]
    return [f"| {' | '.join(row)} |" for row in (("column", "role", "meaning"), ["---"] * 3, *rows)]


def lines(entries: Iterable[Entry]) -> Iterator[str]:
    """For a terminal: name and label, then a line for every parameter, and what a loss trains and needs."""
    for entry in entries:
        yield entry.name
        yield f"    {entry.label}"
        if entry.kind == "losses":
            yield f"      family {entry.family}" + _clause("trains", entry.trains) + _clause("needs", *entry.needs)
        for p in entry.parameters.values():
            yield f"      {p.name}: {p.annotation} {'required' if p.required else f'= {_default(p)}'}"


def markdown(entries: Iterable[Entry]) -> str:
    """Markdown tables: of losses and ensembles one per file, of other kinds one for all."""
    groups = groupby(entries, key=lambda entry: (_file(entry), entry.kind))
    tables = [(f"**`{file}`**\n\n" if file else "") + _table(members) for (file, _), members in groups]
    return "\n\n".join(tables)


def _file(entry: Entry) -> str:
    """Where a loss or an ensemble of this project stands."""
    return f"losses/{entry.family}.py" if entry.module.startswith("losses.") else ""


def _table(entries: Iterable[Entry]) -> str:
    rows = [_cells(entry) for entry in entries]
    lines = (rows[0], ["---"] * len(rows[0]), *(row.values() for row in rows))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(entry: Entry) -> dict[str, str]:
    """Heading -> cell: name, label with the source, parameters with their defaults; of losses what they need, too."""
    own = {"trains": entry.trains, "needs": ", ".join(entry.needs)} if entry.kind == "losses" else {}
    first = {"name": f"`{entry.name}`", "what it is": entry.label.removesuffix(".")}
    return {**first, **own, "parameters": _settings(entry.parameters.values())}


def _settings(parameters: Iterable[Parameter]) -> str:
    return ", ".join(f"{p.name}\u00a0{'none' if p.default is None else _default(p, plain=True)}" for p in parameters)


def _default(parameter: Parameter, *, plain: bool = False) -> str:
    """A default as text, one that is a part as LpDistance(power=2)."""
    if isinstance(parameter.default, dict):
        name, *settings = [each if key == "name" else f"{key}={each}" for key, each in parameter.default.items()]
        return name + (f"({', '.join(settings)})" if settings else "")
    return str(parameter.default) if plain else repr(parameter.default)


def _clause(verb: str, *what: str) -> str:
    return f"; {verb} {', '.join(what)}" if any(what) else ""
