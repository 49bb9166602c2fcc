"""What is stored of the matrices that a command names: its rows, or an end with a sentence."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import typer

from bench.cli.exit_codes import NOTHING
from bench.cli.options import asked_for, controls_of
from bench.cli.output import say

if TYPE_CHECKING:
    from pandas import DataFrame

    from bench.analysis.boards import Searches
    from bench.matrix.job import Job

__all__ = ["Stored", "ended", "stored"]


class Stored(NamedTuple):
    """Rows, and what their matrices say of them."""

    rows: "DataFrame"
    jobs: "tuple[Job, ...]"
    """Of the matrices, with their controls; none where no matrix was named."""
    searched: "Searches"


def stored(
    results: Path,
    matrix: Sequence[str],
    *,
    only: Sequence[str],
    seeds: int | None,
    changes: Sequence[str],
    plugin: Sequence[Path],
) -> Stored:
    """The rows in a folder or a packed file: all of them, or those of some matrices, or `only` of some datasets.

    Raises:
        Exit: there is none, which is said.
        ConfigError: a matrix, or a plugin, is wrong, or there is no such dataset.
    """
    from bench import store
    from bench.analysis.boards import searches
    from bench.matrix.expand import expand
    from bench.matrix.plugins import use

    use(plugin)
    rows = store.load(results)
    if rows.empty:
        ended(f"{results} has no results to report; run a matrix first, for example: bench run demo")
    asked = [(one, expand(one)) for one in (asked_for(one, seeds, changes, plugins=plugin) for one in matrix)]
    jobs = tuple(job for one, own in asked for job in (*own, *controls_of(one, own, rows)))
    if matrix:
        rows = rows[rows["key"].isin({job.key for job in jobs})]
    if rows.empty:
        name = " or ".join(matrix)
        ended(f"{results} has results, but none of the matrix {name}; run it first: bench run {matrix[0]}")
    return Stored(_of_datasets(rows, only) if only else rows, jobs, searches(asked))


def _of_datasets(rows: "DataFrame", only: Sequence[str]) -> "DataFrame":
    """The rows of datasets with these labels, or with these names before the parameters that a label shows."""
    from bench.matrix.catalogue import did_you_mean
    from bench.matrix.job import ConfigError

    names = rows["dataset"].str.partition("(")[0].str.strip()
    for one in only:
        if one not in {*rows["dataset"], *names}:
            raise ConfigError(f"no result is of a dataset {one!r}{did_you_mean(one, dict.fromkeys(rows['dataset']))}")
    return rows[rows["dataset"].isin(only) | names.isin(only)]


def ended(sentence: str) -> NoReturn:
    """End a command for which there is nothing."""
    say(sentence)
    raise typer.Exit(NOTHING)
