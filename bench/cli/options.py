"""What commands share: options, exit codes, reading the matrix, and how to say what is wrong."""

import errno
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.addresses import folders_of_addresses
from bench.cli.interrupts import at_work, exit_code, was_interrupted
from bench.cli.output import UNREAD, console, spell_out

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.console import Console

    from bench.matrix.file import Matrix
    from bench.matrix.job import Job

__all__ = [
    "FAILED",
    "NOTHING",
    "REPORT",
    "RESULTS",
    "WRONG",
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
    "guarded",
    "interrupted",
    "talk",
    "tell_unused",
]

FAILED, WRONG, NOTHING = 1, 2, 3
"""Exit codes."""

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


def talk() -> "Console":
    """Where a command talks to its user: stderr, since stdout is for results."""
    return console(stderr=True)


def say(sentence: str) -> None:
    """Tell the user one sentence, with control characters of names and labels in it as escapes."""
    from bench.datasets.split import legible, without_control

    with suppress(OSError):  # a terminal that is closed, a pipe that nobody reads
        typer.echo(f"bench: {without_control(legible(sentence))}", err=True)


def guarded(app: typer.Typer) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command of `app`: warnings and expected errors become sentences, an interruption 130."""

    def command(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> None:
            expected = _expected()
            spell_out()
            try:
                with at_work(), _told_in_sentences():
                    function(*args, **kwargs | folders_of_addresses(function.__name__, kwargs))
            except (Exception, KeyboardInterrupt) as error:
                end = _end(error, expected)
                if end is None:
                    raise
                raise end from None

        return app.command(name=function.__name__.rstrip("_").replace("_", "-"))(run)

    return command


def _expected() -> tuple[type[Exception], ...]:
    """Errors that are sentences. Imported before the work: after an interruption an import may not be whole."""
    from bench.datasets.split import DataError
    from bench.matrix.job import ConfigError
    from bench.store.job_folders import StoreError

    return ConfigError, DataError, StoreError


def _end(error: BaseException, expected: tuple[type[Exception], ...]) -> typer.Exit | None:
    """How a command ends by an error, once that is said; None for one that nobody expects, or an end already."""
    if isinstance(error, typer.Exit):
        return None
    if isinstance(error, KeyboardInterrupt) or was_interrupted():
        return interrupted("the same command continues")
    if isinstance(error, expected):
        return _refused(str(error))
    if isinstance(error, OSError):
        return typer.Exit(UNREAD) if error.errno == errno.EPIPE else _refused(_unusable(error))
    return None


def interrupted(advice: str) -> typer.Exit:
    """The end of a command that was interrupted, once that is said."""
    say(f"interrupted; {advice}")
    return typer.Exit(exit_code())


@contextmanager
def _told_in_sentences() -> Iterator[None]:
    """Warnings as the sentences that they are, without the line of code that gave them."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_: say(str(message))
        yield


def _refused(sentences: str) -> typer.Exit:
    """The end of a command whose request is wrong, once that is said."""
    for sentence in sentences.splitlines():
        say(sentence)
    return typer.Exit(WRONG)


def _unusable(error: OSError) -> str:
    """What the system says of a place that nobody asked before; our own errors of this kind have no number."""
    if error.errno is None:
        return str(error)
    place = f"{error.filename}: " if error.filename else ""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return f"{place}the disk is full; free some space and give the same command again"
    return f"{place}cannot be used ({error.strerror}); see that you may open it, or name another place"


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
