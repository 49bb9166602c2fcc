"""`bench plan MATRIX --decide A B`: the seeds that two methods still need, and what they cost."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bench.cli.options import NOTHING, say

if TYPE_CHECKING:
    from bench.matrix.file import Matrix

__all__ = ["decide"]


def decide(
    methods: tuple[str, str], *, matrix: str, asked: "Matrix", results: Path, metric: str, as_json: bool
) -> None:
    """Print it for every board that has both; without enough stored rows, one sentence says what to run first."""
    from bench import store
    from bench.analysis.comparisons import NothingToCompare
    from bench.analysis.scored_methods import Source
    from bench.analysis.seeds_to_decide import seeds_to_decide
    from bench.matrix.expand import expand
    from bench.report.comparisons import json_values

    rows = store.load(results) if results.exists() else store.empty()
    try:
        found = seeds_to_decide(*methods, source=Source(results, rows, expand(asked)), matrix=matrix, metric=metric)
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
