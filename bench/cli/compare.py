"""The command `bench compare`: is A better than B, by how much, and how sure is that?"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.exit_codes import NOTHING
from bench.cli.options import RESULTS, JsonOption, PluginOption, SourceOption, asked_for, controls_of
from bench.cli.output import say

if TYPE_CHECKING:
    from bench.analysis.methods_of_rows import Source

__all__ = ["compare"]


def compare(
    a: Annotated[str | None, typer.Argument(metavar="A", help="Label, key or cell of a method.")] = None,
    b: Annotated[str | None, typer.Argument(metavar="B", help="The method that it is held against.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Compare all methods: ranks, groups, all pairs.")] = False,
    dataset: Annotated[
        str | None, typer.Option("--dataset", metavar="LABEL", help="Only this dataset, such as glyphs.")
    ] = None,
    metric: Annotated[
        str, typer.Option("--metric", metavar="NAME", help="The score: see `bench list metrics`.")
    ] = "recall_at_1",
    results: SourceOption = RESULTS,
    against: Annotated[
        Path | None, typer.Option("--against", metavar="DIR|FILE", help="Where B is, if not in the same results.")
    ] = None,
    matrix: Annotated[
        str | None,
        typer.Option("--matrix", metavar="MATRIX", help="Only the cells of this matrix, so fewer pairs."),
    ] = None,
    plugin: PluginOption = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Say whether A is better than B, by how much and how sure, from stored results of several seeds."""
    from bench.analysis.two_methods import NothingToCompare, compare_all, compare_pair
    from bench.matrix.plugins import use
    from bench.report.comparisons import all_pairs_text, json_values, pair_text

    _check_request(a, b, every, against)
    use(plugin)
    try:
        source = _source(results, matrix, plugin)
        if a is None or b is None:
            found = compare_all(source, dataset=dataset, metric=metric)
        else:
            other = None if against is None else _source(against, matrix, plugin)
            found = compare_pair(a, b, source=source, other=other, dataset=dataset, metric=metric)
    except NothingToCompare as error:
        say(str(error))
        raise typer.Exit(NOTHING) from None
    text = all_pairs_text if every else pair_text
    typer.echo(json.dumps(json_values(found), indent=2, ensure_ascii=False) if as_json else text(found))


def _check_request(a: str | None, b: str | None, every: bool, against: Path | None) -> None:
    from bench.matrix.job import ConfigError

    if every and (a is not None or against is not None):
        raise ConfigError("--all compares all methods of --results: leave A, B and --against out.")
    if not every and (a is None or b is None):
        raise ConfigError("name two methods, as in bench compare triplet contrastive; or add --all.")


def _source(path: Path, matrix: str | None, plugins: list[Path]) -> "Source":
    from bench import store
    from bench.analysis.methods_of_rows import Source
    from bench.analysis.two_methods import NothingToCompare
    from bench.matrix.expand import expand

    rows = store.load(path)
    if matrix is None:
        return Source(path, rows)
    asked = asked_for(matrix, None, [], plugins=plugins)
    jobs = expand(asked)
    jobs = (*jobs, *controls_of(asked, jobs, rows))
    kept = rows[rows["key"].isin({job.key for job in jobs})]
    if kept.empty:
        raise NothingToCompare(f"{path} has no results of the matrix {matrix}; run it first: bench run {matrix}")
    return Source(path, kept, jobs)
