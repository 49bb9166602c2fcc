"""The command `bench list`: what a matrix may use."""

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from bench.cli.options import JsonOption, PluginOption

__all__ = ["ListKind", "list_"]


class ListKind(StrEnum):
    """What `bench list` can list."""

    losses = "losses"
    ensembles = "ensembles"
    model_ensembles = "model_ensembles"
    students = "students"
    datasets = "datasets"
    backbones = "backbones"
    floors = "floors"
    metrics = "metrics"
    diagnostics = "diagnostics"
    matrices = "matrices"
    recipe = "recipe"
    columns = "columns"


def list_(
    kind: Annotated[ListKind, typer.Argument(help="What to list.")],
    as_json: JsonOption = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
    pml: Annotated[
        bool, typer.Option("--pml", help="Losses: those of pytorch-metric-learning, and the parts they take.")
    ] = False,
    plugin: PluginOption = [],  # noqa: B006
) -> None:
    """List what a matrix may use, with its source, parameters and defaults; also the columns of a row."""
    from bench.cli import list_formats
    from bench.matrix import catalogue, file
    from bench.matrix.job import ConfigError
    from bench.matrix.plugins import use
    from bench.matrix.pml_parts import offered

    use(plugin)
    if pml and kind is not ListKind.losses:
        raise ConfigError("--pml belongs to losses: bench list losses --pml")
    if kind is ListKind.matrices:
        found: list[dict[str, Any]] = [{"name": n, "label": file.headline(p)} for n, p in file.matrices().items()]
        text = [f"{part['name']}\n    {part['label']}" for part in found]
    elif kind is ListKind.recipe:
        found = list_formats.recipe()
        text = [f"{field['name']} = {json.dumps(field['default'])}\n    {field['label']}" for field in found]
    elif kind is ListKind.columns:
        found = list_formats.columns()
        text = list_formats.columns_markdown() if as_markdown else [f"{c['name']}\n    {c['label']}" for c in found]
    else:
        entries = offered() if pml else list(catalogue.entries(kind).values())
        found = [list_formats.describe(entry) for entry in entries]
        text = [list_formats.markdown(entries)] if as_markdown else list(list_formats.lines(entries))
        if kind is ListKind.backbones:
            from bench.cli.list_trunks import lines, trunks

            known = trunks()
            found = [part | {"trunks": known} if part["name"] == "timm" else part for part in found]
            text += [] if as_markdown else lines(known)
    typer.echo(json.dumps(found, indent=2) if as_json else "\n".join(text))
