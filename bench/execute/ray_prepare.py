"""Datasets made ready on every node of a Ray cluster, once on each, and held against this machine's by their hashes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from bench.execute.ray_cluster import connected, each_node
from bench.execute.stop import Stop
from bench.matrix.job import Part

__all__ = ["Wanted", "lacking", "prepare_nodes"]


class Wanted(NamedTuple):
    """What every node is to have."""

    datasets: tuple[Part, ...]
    data: Path | None
    """The data folder: the same path on all nodes, on a disk that they share or on their own."""
    shas: Mapping[str, str]
    """By label of a dataset, the hash of it on this machine."""


def prepare_nodes(
    datasets: Sequence[Part], data: Path | None, shas: Mapping[str, str], *, address: str | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Each node by its name, as it has ended, with a sentence for each dataset that it lacks or has other data of.

    Args:
        datasets: with all their parameters; they are ready on this machine.
        data: data folder with one subfolder per dataset.
        shas: of these datasets, by label, as they are here.
        address: of the cluster, as `bench.run` takes it.

    Raises:
        ConfigError: there is no such cluster.
    """
    wanted = Wanted(tuple(datasets), data and data.absolute(), dict(shas))
    with connected(address or "auto") as ray:
        yield from each_node(ray, [node for node in ray.nodes() if node["Alive"]], lacking, wanted, Stop())


def lacking(wanted: Wanted) -> list[str]:
    """Make the datasets ready on this machine; what is wrong with them here, one sentence each."""
    from bench.datasets.acquire.prepare import prepare_dataset
    from bench.datasets.split import DataError, see_same

    problems = []
    for part in wanted.datasets:
        try:
            see_same(part.label, prepare_dataset(part, wanted.data, _unseen), wanted.shas[part.label])
        except DataError as error:
            problems.append(str(error))
    return problems


def _unseen(_name: str, _unit: Any) -> Any:
    """A step that nobody looks at."""
    return nullcontext(lambda *_: None)
