"""Options that commands share, and reading the matrix that they name."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.output import say

if TYPE_CHECKING:
    from pandas import DataFrame

    from bench.matrix.file import Matrix
    from bench.matrix.job import Job

__all__ = [
    "REPORT",
    "RESULTS",
    "AddressOption",
    "CheckpointOption",
    "CpusOption",
    "DataOption",
    "DeviceOption",
    "ExecutorOption",
    "GpusOption",
    "JsonOption",
    "MatrixArgument",
    "MemoryLimitOption",
    "OnlyOption",
    "PluginOption",
    "ResultsOption",
    "SeedsOption",
    "SetOption",
    "SkipOption",
    "SourceOption",
    "ThreadsOption",
    "TimeLimitOption",
    "VersionsOption",
    "WorkersOption",
    "asked_for",
    "controls_of",
    "tell_unused",
]

MatrixArgument = Annotated[
    str,
    typer.Argument(metavar="MATRIX", help="Name of a matrix (see `bench list matrices`), or path of a matrix file."),
]
ResultsOption = Annotated[
    Path, typer.Option("--results", metavar="DIR|ADDRESS", help="Folder of results, or an address: s3://bucket/prefix.")
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", envvar="BENCH_DATA", help="Data folder with one subfolder per dataset."),
]
SeedsOption = Annotated[
    int | None, typer.Option("--seeds", min=1, help="Number of seeds per cell; N means seeds 0 to N - 1.")
]
SetOption = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one value of the matrix, for example recipe.epochs=3. May be repeated.",
    ),
]
SkipOption = Annotated[
    bool, typer.Option("--skip-broken", help="Leave out, and count, images that are missing or cannot be read.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Jobs at a time; default: one per GPU, or core.")
]
ThreadsOption = Annotated[
    int, typer.Option("--threads", min=1, help="Threads of a worker; results are compared at equal threads.")
]
CheckpointOption = Annotated[
    float,
    typer.Option(
        "--checkpoint-every",
        metavar="MINUTES",
        help="Minutes of work that a kill may cost: a checkpoint of each running job is written that often; 0: none.",
    ),
]
TimeLimitOption = Annotated[
    float | None,
    typer.Option(
        "--time-limit",
        metavar="MINUTES",
        help="A job that takes longer, earlier attempts included, has failed; it does not change what a job is.",
    ),
]
MemoryLimitOption = Annotated[
    float | None,
    typer.Option(
        "--memory-limit",
        metavar="GB",
        help="A job that holds more, of the GPU's memory or on the processor of its process's, has failed.",
    ),
]
ExecutorOption = Annotated[
    str,
    typer.Option(
        "--executor",
        metavar="WHAT",
        help="Where the work is done: local, or ray: on all nodes of a Ray cluster, which see the same folders.",
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="With --executor ray: the head of the cluster; auto, the default: the cluster of this machine; local: one "
        "that is started for this run.",
    ),
]
CpusOption = Annotated[
    float | None,
    typer.Option("--cpus-per-job", metavar="N", help="With --executor ray: CPUs that a job holds; default: --threads."),
]
GpusOption = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-job",
        metavar="N",
        help="GPUs that a job holds, 0.25 for four jobs on each; default: 1, if there are any.",
    ),
]
VersionsOption = Annotated[
    bool,
    typer.Option(
        "--any-versions",
        help="With --executor ray: nodes may have other versions of torch, faiss and so on, which may give other bits.",
    ),
]
SourceOption = Annotated[
    Path, typer.Option("--results", metavar="DIR|FILE|ADDRESS", help="Folder of results, packed file, or an address.")
]
OnlyOption = Annotated[
    list[str],
    typer.Option("--only", metavar="DATASET", help="Only this dataset, by its label or name. May be repeated."),
]
PluginOption = Annotated[
    list[Path],
    typer.Option(
        "--plugin",
        metavar="FILE",
        help="A Python file with losses, ensembles, ... of your own, which is run. May be repeated.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
RESULTS = Path("results/runs")
REPORT = Path("reports/latest")
"""Where a report goes unless told otherwise: a folder that git ignores."""


def asked_for(
    matrix: str,
    seeds: int | None,
    changes: Sequence[str],
    skip_broken: bool = False,
    *,
    plugins: "Sequence[Path]" = (),
) -> "Matrix":
    """The matrix of a command, with the changes of its options; the plugins that it may name are in use afterwards.

    Raises:
        ConfigError: there is no such matrix, or it is wrong; or a plugin is.
    """
    from bench.matrix.file import load
    from bench.matrix.plugins import use

    use(plugins)
    return load(matrix, changes, seeds=seeds, skip_broken=skip_broken)


def tell_unused(jobs: "Sequence[Job]") -> None:
    """Say which plugins were named in vain."""
    from bench.matrix.plugins import unused
    from bench.matrix.plugins_in_use import named

    for sentence in unused(named(), jobs):
        say(sentence)


def controls_of(matrix: "Matrix", jobs: "Sequence[Job]", rows: "DataFrame") -> "tuple[Job, ...]":
    """What the ensembles of a matrix are held against, as far as `rows` decide it."""
    from bench.analysis.controls import controls

    return controls(jobs, rows) if matrix.controls else ()
