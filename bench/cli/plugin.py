"""The command `bench test-plugin`: do the functions of a file keep to what the harness relies on?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.exit_codes import FAILED
from bench.cli.options import DataOption

if TYPE_CHECKING:
    from bench.matrix.catalogue import Entry

__all__ = ["test_plugin"]


def test_plugin(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A Python file with public functions; it is run.")],
    data: DataOption = None,  # noqa: PT028
) -> None:
    """Check a plugin: one line for each thing that a loss, an ensemble, ... of your own must keep to.

    A function's positional arguments say what it is: (shape) a loss, (shape, members) an ensemble, (channels) or
    (width) a backbone of pictures or of vectors, (data) a dataset, (split) or (features) a floor, (members) a model
    ensemble, (ranking) or (clustering) a metric. Its keyword-only arguments, after a *, are what a matrix may set. Exit
    code 1: something is wrong; 2: no plugin.
    """
    from bench.matrix.plugin_file import PluginError, read

    read(file.expanduser(), str(file))
    try:
        parts = _parts(file)
    except PluginError as error:
        for sentence in str(error).splitlines():
            typer.echo(f"WRONG  {sentence}")
        raise typer.Exit(FAILED) from None
    wrong = [_told(entry, data) for entry in parts]
    typer.echo(f"{len(parts)} parts, {sum(wrong)} checks failed", err=True)
    if any(wrong):
        raise typer.Exit(FAILED)


def _parts(file: Path) -> "list[Entry]":
    """Every part of a file that names and parameters are right of."""
    from bench.matrix.catalogue import KINDS, plugin_entries
    from bench.matrix.plugins import use
    from bench.matrix.plugins_in_use import named

    use([file])
    return [entry for kind in KINDS for entry in plugin_entries(kind, named())]


def _told(entry: "Entry", data: Path | None) -> int:
    """Print the checks of a part; how many failed."""
    from bench.job.plugin_contract import contract

    wrong = 0
    typer.echo(f"{entry.name} ({entry.kind.replace('_', ' ')})")
    for check in contract(entry, data):
        mark = "ok   " if check.problem is None else "WRONG" if check.tried else "-    "
        typer.echo(f"  {mark} {check.what}{f': {check.problem}' if check.problem else ''}")
        wrong += bool(check.problem and check.tried)
    return wrong
