"""The command `bench check`: is a fresh run of a small matrix worse than its baseline?"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.exit_codes import FAILED, NOTHING, interrupted
from bench.cli.interrupts import stop
from bench.cli.options import (
    RESULTS,
    DataOption,
    DeviceOption,
    JsonOption,
    MatrixArgument,
    PluginOption,
    SeedsOption,
    SetOption,
    SkipOption,
    ThreadsOption,
    WorkersOption,
)
from bench.cli.output import say, talk

if TYPE_CHECKING:
    from bench.analysis.regression import Checked
    from bench.execute.regression_check import RunOptions

__all__ = ["check"]

BaselineOption = Annotated[
    Path | None, typer.Option("--baseline", metavar="FILE", help="What the fresh run is held against.")
]
MakeOption = Annotated[
    Path | None,
    typer.Option("--make-baseline", metavar="FILE", help="Write a baseline instead; of 10 seeds, unless --seeds says."),
]
MetricOption = Annotated[
    str, typer.Option("--metric", metavar="NAME", help="The score that decides: see `bench list metrics`.")
]
JUnitOption = Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML too.")]
MarkdownOption = Annotated[
    Path | None, typer.Option("--markdown", metavar="FILE", help="Write Markdown too, as for the summary of a CI job.")
]


def check(
    matrix: MatrixArgument,
    baseline: BaselineOption = None,
    make_baseline: MakeOption = None,
    metric: MetricOption = "recall_at_1",
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 also where something cannot be told.")] = False,
    reuse: Annotated[bool, typer.Option("--reuse", help="Take stored rows as fresh, and keep the new ones.")] = False,
    results: Annotated[Path, typer.Option("--results", metavar="DIR", help="The folder of --reuse.")] = RESULTS,
    data: DataOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    threads: ThreadsOption = 1,
    seeds: SeedsOption = None,
    changes: SetOption = [],  # noqa: B006
    skip_broken: SkipOption = False,
    plugin: PluginOption = [],  # noqa: B006
    junit: JUnitOption = None,
    markdown: MarkdownOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a small matrix afresh and say whether it is worse than its baseline; exit code 1 if it is."""
    from bench.analysis.regression_baseline import NotComparable
    from bench.execute.regression_check import NothingMeasured

    files = {name: path for name, path in {"--junit": junit, "--markdown": markdown}.items() if path is not None}
    _check_request(baseline, make_baseline, seeds=seeds, reuse=reuse, files=files)
    options: RunOptions = {"data": data, "device": device, "workers": workers, "threads": threads}
    options |= {"changes": changes, "skip_broken": skip_broken, "plugins": plugin, "stop": stop()}
    try:
        if baseline is None:
            _make(matrix, make_baseline or Path(), seeds, options)
            return
        found = _checked(matrix, baseline, metric, results if reuse else None, options)
    except KeyboardInterrupt:
        raise interrupted("the same command begins anew") from None
    except (NotComparable, NothingMeasured) as error:
        problems = str(error).splitlines()
        for sentence in problems:
            say(sentence)
        _write(None, files, problems=problems)
        raise typer.Exit(NOTHING) from None
    _write(found, files, strict=strict)
    _finish(found, strict=strict, as_json=as_json)


def _check_request(
    baseline: Path | None, made: Path | None, *, seeds: int | None, reuse: bool, files: Mapping[str, Path]
) -> None:
    """See that the options go together, and that files can be written, before anything trains."""
    from bench.matrix.job import ConfigError

    if (baseline is None) == (made is None):
        raise ConfigError("name a baseline with --baseline FILE, or write one with --make-baseline FILE")
    if baseline is not None and seeds is not None:
        raise ConfigError("--seeds belongs to --make-baseline; a check takes as many seeds as it needs, at most 5")
    if made is not None and (reuse or files):
        raise ConfigError("--reuse, --junit and --markdown belong to a check: leave them out, or name a --baseline")
    for name, path in files.items():
        try:
            path.open("a").close()
        except OSError as error:
            raise ConfigError(f"{name} {path}: cannot be written ({error.strerror}); name another file") from error


def _checked(matrix: str, baseline: Path, metric: str, reuse: Path | None, options: "RunOptions") -> "Checked":
    import bench
    from bench.cli.progress import display

    with display(talk()) as shown:
        found: Checked = bench.check(matrix, baseline, metric=metric, reuse=reuse, tell=shown.show, **options)
    return found


def _make(matrix: str, file: Path, seeds: int | None, options: "RunOptions") -> None:
    from bench.cli.progress import display
    from bench.execute.regression_check import SEEDS, make_baseline

    with display(talk()) as shown:
        count = make_baseline(matrix, file, seeds=seeds or SEEDS, tell=shown.show, **options)
    typer.echo(f"{file}: {count} rows", err=True)


def _write(
    found: "Checked | None", files: Mapping[str, Path], *, problems: Sequence[str] = (), strict: bool = False
) -> None:
    from bench.report import regression

    texts = {
        "--junit": regression.junit(found, problems, strict=strict),
        "--markdown": regression.markdown(found, problems),
    }
    for name, path in files.items():
        path.write_text(texts[name], encoding="utf-8")


def _finish(found: "Checked", *, strict: bool, as_json: bool) -> None:
    """Print the outcome, and end with the exit code that it deserves."""
    from bench.report import regression

    said = json.dumps(regression.values(found), indent=2, ensure_ascii=False) if as_json else regression.text(found)
    typer.echo(said)
    if found.regressed or (strict and found.undecided):
        raise typer.Exit(FAILED)
