"""What every command shares: its options, its exit codes, and how it says what is wrong."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

__all__ = [
    "FAILED",
    "NOTHING",
    "RESULTS",
    "WRONG",
    "DataOption",
    "JsonOption",
    "MatrixArgument",
    "ResultsOption",
    "SeedsOption",
    "SetOption",
    "SkipOption",
    "guarded",
    "talk",
]

FAILED, WRONG, NOTHING, INTERRUPTED = 1, 2, 3, 130
"""Exit codes."""

MatrixArgument = Annotated[str, typer.Argument(metavar="MATRIX", help="A name (`bench list matrices`) or a path.")]
ResultsOption = Annotated[Path, typer.Option("--results", metavar="DIR", help="Folder of stored results.")]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", envvar="BENCH_DATA", help="Folder that holds one folder a dataset."),
]
SeedsOption = Annotated[int | None, typer.Option("--seeds", min=1, help="Number of seeds, 0 to N - 1.")]
SetOption = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a value: recipe.epochs=3.")]
SkipOption = Annotated[bool, typer.Option("--skip-broken", help="Leave out images that cannot be read.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RESULTS = Path("results/runs")


def talk() -> Console:
    """Where a command talks to its user: stderr, since stdout is for results."""
    return Console(stderr=True)


def guarded(app: typer.Typer) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command of `app`: expected errors become sentences, an interruption exit code 130."""

    def command(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> None:
            from bench.config import ConfigError
            from bench.datasets.split import DataError
            from bench.store import StoreError

            try:
                function(*args, **kwargs)
            except (ConfigError, DataError, StoreError, FileNotFoundError) as error:
                for sentence in str(error).splitlines():
                    typer.echo(f"bench: {sentence}", err=True)
                raise typer.Exit(WRONG) from None
            except KeyboardInterrupt:
                typer.echo("bench: interrupted; the same command continues", err=True)
                raise typer.Exit(INTERRUPTED) from None

        return app.command(name=function.__name__.rstrip("_"))(run)

    return command
