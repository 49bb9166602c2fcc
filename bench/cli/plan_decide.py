"""`bench plan MATRIX --decide A B`: the seeds that two methods still need, and what they cost."""

import json
from typing import TYPE_CHECKING

import typer

from bench.cli.exit_codes import NOTHING
from bench.cli.output import say

if TYPE_CHECKING:
    from bench.analysis.methods_of_rows import Source

__all__ = ["decide"]


def decide(methods: tuple[str, str], *, matrix: str, source: "Source", metric: str, as_json: bool) -> None:
    """Print it for every board that has both; without enough stored rows, one sentence says what to run first."""
    from bench.analysis.seeds_to_decide import seeds_to_decide
    from bench.analysis.two_methods import NothingToCompare
    from bench.report.comparisons import json_values

    try:
        found = seeds_to_decide(*methods, source=source, matrix=matrix, metric=metric)
    except NothingToCompare as error:
        for sentence in str(error).splitlines():
            say(sentence)
        raise typer.Exit(NOTHING) from None
    if as_json:
        typer.echo(json.dumps(json_values(found), indent=2, ensure_ascii=False))
        return
    for board in found:
        typer.echo(f"{board.dataset}, {board.backbone}, {board.metric}")
        for sentence in board.sentences:
            typer.echo(f"  {sentence}")
