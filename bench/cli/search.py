"""`bench search`: the same number of trials for every objective, and the matrix that they lead to."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.exit_codes import FAILED, NOTHING
from bench.cli.interrupts import stop
from bench.cli.options import (
    CheckpointOption,
    DataOption,
    DeviceOption,
    MatrixArgument,
    MemoryLimitOption,
    PluginOption,
    SetOption,
    SkipOption,
    ThreadsOption,
    TimeLimitOption,
    WorkersOption,
    asked_for,
)
from bench.cli.output import console, say, talk

if TYPE_CHECKING:
    from bench.execute.search import SearchedBoard

__all__ = ["search"]

LONGEST = 40
"""Characters of a label in the name of a file."""


def search(
    matrix: MatrixArgument,
    trials: Annotated[
        int, typer.Option(min=1, help="Settings to try for each objective; the matrix's own is the first.")
    ] = 12,
    results: Annotated[
        Path, typer.Option("--results", metavar="DIR", help="Folder of the trials, apart from results to report.")
    ] = Path("results/search"),
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="FILE.toml", help="Write a matrix with what was found, for `bench run`."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="With --write: replace a file that is there.")] = False,
    data: DataOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    threads: ThreadsOption = 1,
    checkpoint_every: CheckpointOption = 5.0,
    time_limit: TimeLimitOption = None,
    memory_limit: MemoryLimitOption = None,
    changes: SetOption = [],  # noqa: B006
    skip_broken: SkipOption = False,
    plugin: PluginOption = [],  # noqa: B006
) -> None:
    """Search learning rates and parameters of every objective on held-out training classes; repeat it to resume."""
    import bench
    from bench.cli.progress import display
    from bench.report.searched import terminal

    files = _files(write, matrix, changes, plugin, force=force)
    with display(talk()) as shown:
        boards = bench.search(
            matrix,
            trials=trials,
            results=results,
            tell=shown.show,
            data=data,
            device=device,
            workers=workers,
            threads=threads,
            checkpoint_every=checkpoint_every,
            time_limit=time_limit,
            memory_limit=memory_limit,
            changes=changes,
            skip_broken=skip_broken,
            plugins=plugin,
            stop=stop(),
        )
    for board in boards:
        console().print(terminal(board.choices))
    _finish(boards, files, plugin)


def _files(
    write: Path | None, matrix: str, changes: Sequence[str], plugins: Sequence[Path], *, force: bool
) -> dict[tuple[str, str], Path]:
    """Dataset and backbone -> the file for what is found; that it can be written is seen before anything trains.

    Raises:
        ConfigError: a file is there already, or its folder is not.
    """
    from bench.matrix.expand import expand
    from bench.matrix.job import ConfigError

    if write is None:
        if force:
            raise ConfigError("--force belongs to --write: add --write FILE.toml, or leave it out")
        return {}
    jobs = expand(asked_for(matrix, None, changes, plugins=plugins))
    boards = list(dict.fromkeys((job.dataset.label, job.backbone.label) for job in jobs))
    files = {board: _file(write, board, number, len(boards)) for number, board in enumerate(boards, start=1)}
    for file in files.values():
        if not file.parent.is_dir():
            raise ConfigError(f"{file.parent}: there is no such folder; make it, or name another file with --write")
        if file.is_dir():
            raise ConfigError(f"{file}: is a folder; name a file with --write")
        if file.exists() and not force:
            raise ConfigError(f"{file}: is there already; add --force to replace it, or name another file with --write")
    return files


def _file(write: Path, board: tuple[str, str], number: int, boards: int) -> Path:
    """The file as it is named; where there are several boards, with the number and the labels of this one."""
    words = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", label).strip("_")[:LONGEST] for label in board)
    return write if boards == 1 else write.with_name(f"{write.stem}-{number}-{words}{write.suffix}")


def _finish(boards: "Sequence[SearchedBoard]", files: Mapping[tuple[str, str], Path], plugins: Sequence[Path]) -> None:
    """Write the matrices, say what has no setting, and end with the exit code that the trials deserve."""
    from bench.matrix.matrix_text import written

    for board in boards:
        for choice in board.choices:
            if choice.trials and choice.best is None and not choice.skipped:
                say(f"{', '.join(board.name)}: no trial of {choice.label} has a score ({choice.reason})")
        file = files.get(board.name)
        if file and board.matrix and board.matrix.searched:
            _replace(file, written(board.matrix, headline=f"Written by bench search. {board.matrix.searched.sentence}"))
            options = "".join(f" --plugin {one}" for one in plugins)
            say(f"wrote {file}; run it with: bench run {file}{options}")
        elif file:
            say(f"{file} is not written; remove what has no score from the matrix, or mend it, and search again")
    if not any(choice.best is not None for board in boards for choice in board.choices):
        raise typer.Exit(NOTHING)
    if any(board.matrix is None for board in boards):
        raise typer.Exit(FAILED)


def _replace(file: Path, text: str) -> None:
    """Write a text whole or not at all."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
