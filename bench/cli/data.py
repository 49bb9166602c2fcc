"""`bench data`: where the sets come from, getting them ready, and whether what is on disk is whole."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.exit_codes import FAILED, guarded
from bench.cli.options import AddressOption, DataOption, ExecutorOption, JsonOption, SetOption, SkipOption
from bench.cli.output import talk

if TYPE_CHECKING:
    from bench.datasets.acquire.prepare import Stage
    from bench.datasets.split import Split
    from bench.execute.ray_cluster import Cluster
    from bench.matrix.job import Part

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="List, download, decode and check datasets.")

NamesArgument = Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="Datasets (`bench data list`).")]
MatrixOption = Annotated[str | None, typer.Option("--matrix", metavar="MATRIX", help="All datasets of a matrix.")]


@guarded(app)
def list_(data: DataOption = None, as_json: JsonOption = False) -> None:
    """List datasets: what each is, its licence, where to get it and put it, whether it is there and decoded."""
    from bench.datasets.acquire.inventory import inventory, inventory_lines

    found = inventory(data)
    typer.echo(json.dumps(found, indent=2) if as_json else "\n".join(inventory_lines(found)))


@guarded(app)
def prepare(
    names: NamesArgument = None,
    data: DataOption = None,
    matrix: MatrixOption = None,
    changes: SetOption = [],  # noqa: B006
    skip_broken: SkipOption = False,
    executor: ExecutorOption = "local",
    address: AddressOption = None,
) -> None:
    """Download what is not there, where a host still serves it, and decode it; the same command again continues.

    With --executor ray the same is done on every node of the cluster, once on each, and compared by its hash.
    """
    from bench.datasets.acquire.prepare import prepare_dataset
    from bench.datasets.acquire.targets import targets
    from bench.datasets.split import DataError, remarks
    from bench.matrix.job import ConfigError

    cluster, problems, shas = _cluster(executor, address), [], {}
    parts = targets(names or [], matrix, changes, data, skip_broken=skip_broken)
    for part in parts:
        start = time.perf_counter()
        try:
            split = prepare_dataset(part, data, _stage())
        except DataError as error:
            problems.append(str(error))
        else:
            typer.echo(f"{part.label}: {_summary(split)}; {time.perf_counter() - start:.1f} s")
            for remark in remarks(split):
                typer.echo(f"    {remark}")
            shas[part.label] = split.sha
    if cluster and not problems:
        problems = _on_nodes(parts, data, shas, cluster)
    if problems:
        raise ConfigError("\n".join(problems))


def _cluster(executor: str, address: str | None) -> "Cluster | None":
    """The cluster, if one is asked for."""
    if executor == "local" and address is None:
        return None
    from bench.execute.ray_cluster import Cluster
    from bench.execute.run_options import see_executor

    see_executor(executor)
    asked = Cluster(address)
    return asked.checked() if asked.asked_of(executor) else None


def _on_nodes(parts: "Sequence[Part]", data: Path | None, shas: Mapping[str, str], cluster: "Cluster") -> list[str]:
    """Make the same ready on every node, and say of each that it is; what is wrong on others."""
    from bench.datasets.acquire.steps import NODES
    from bench.execute.ray_prepare import prepare_nodes

    problems, same = [], []
    with _stage()("the cluster", NODES) as watch:
        for done, (name, sentences) in enumerate(prepare_nodes(parts, data, shas, address=cluster.address), start=1):
            watch(done, None)
            problems += [f"{name}: {sentence}" for sentence in sentences]
            same += [] if sentences else [name]
    for name in same:
        typer.echo(f"{name}: the same data")
    return problems


@guarded(app)
def verify(
    names: NamesArgument = None,
    data: DataOption = None,
    matrix: MatrixOption = None,
    changes: SetOption = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Check what is on disk: counts, every picture, published hashes, the cache; exit code 1 if something is wrong."""
    from bench.datasets.acquire.targets import targets
    from bench.datasets.acquire.verify import verify_dataset

    verdicts = [verify_dataset(part, data, _stage()) for part in targets(names or [], matrix, changes, data)]
    if as_json:
        typer.echo(json.dumps([{"good": not one.problems, **one._asdict()} for one in verdicts], indent=2))
    else:
        for one in verdicts:
            typer.echo(f"{one.dataset}: {'wrong' if one.problems else 'good'}")
            typer.echo("\n".join(f"    {sentence}" for sentence in (*one.problems, *one.checks, *one.remarks)))
    if any(one.problems for one in verdicts):
        raise typer.Exit(FAILED)


def _stage() -> "Stage":
    from functools import partial

    from bench.cli.step_bar import bar

    return partial(bar, talk())


def _summary(split: "Split") -> str:
    """Classes and pictures of each part and their size; or vectors, and of how many numbers."""
    from bench.datasets.split import are_vectors

    size = split.train.images.shape[1:]
    noun = f"vectors of {size[0]:,}" if are_vectors(split) else "pictures"
    end = "" if are_vectors(split) else f"; {' × '.join(map(str, size))}"
    parts = [(name, part) for name, part in zip(("train", "test", "gallery"), split[:3], strict=True) if part]
    counts = ", ".join(f"{name} {len(part.classes):,} classes {len(part.labels):,} {noun}" for name, part in parts)
    return f"{counts}{end}"
