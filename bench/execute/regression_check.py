"""The regression check: a small matrix is run afresh, seed by seed as far as needed, and held against a baseline."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Unpack

import pandas as pd

from bench import store
from bench.analysis.regression import FAILED, Checked, CheckedBoard, judge, settled
from bench.analysis.regression_baseline import Baseline, comparable
from bench.analysis.regression_notes import notes
from bench.execute.data_check import check as check_data
from bench.execute.event import Event
from bench.execute.matrix_run import run
from bench.execute.run_options import RunOptions, apart
from bench.matrix import file
from bench.matrix.catalogue import did_you_mean, entries
from bench.matrix.expand import expand
from bench.matrix.file import Matrix
from bench.matrix.job import ConfigError, Job
from bench.stats.regression_gate import LOOKS, SAME_BITS, WEIGHTS
from bench.store.columns import role
from bench.store.pack import refuse_foreign

__all__ = ["SEEDS", "Looked", "NothingMeasured", "RunOptions", "check", "look_by_look", "make_baseline"]

SEEDS = 10
"""Of a baseline: paid once, and more seeds there find smaller drops."""
Tell = Callable[[Event], None]


class NothingMeasured(RuntimeError):
    """No fresh job, or none of a baseline, has a score; one sentence says why."""


class Looked(NamedTuple):
    """The last look that was needed."""

    seeds: int
    boards: tuple[CheckedBoard, ...]
    rows: pd.DataFrame
    """The fresh ones."""


class _Asked(NamedTuple):
    """A matrix without controls, and how to run it."""

    matrix: Matrix
    options: dict[str, Any]
    tell: Tell


def check(
    matrix: Matrix | str | Path,
    baseline: str | Path,
    *,
    metric: str = "recall_at_1",
    reuse: str | Path | None = None,
    tell: Tell = lambda _event: None,
    **options: Unpack[RunOptions],
) -> Checked:
    """Run a matrix afresh and say whether it is worse than a baseline; controls are left out.

    Seed 0 comes first. Where all bits agree with the baseline, that is all; else the same seeds are run up to 3, and up
    to 5 where something is still open. The verdicts are those of `bench.stats.regression_gate`.

    Args:
        matrix: a matrix, the name of one that comes with the project, or the path of a file.
        baseline: a file that `make_baseline` or `bench pack` wrote, or a folder of results.
        metric: the score that decides.
        reuse: a folder of results whose rows count as fresh, and where new ones are stored. By default nothing stored
            is used, and nothing is kept.
        tell: told every event of the runs.
        options: how to run, as of `bench.run`.

    Raises:
        ConfigError: the request is wrong.
        StoreError, FileNotFoundError: the baseline cannot be read.
        NotComparable: the baseline is one of something else; each line is one sentence.
        NothingMeasured: no fresh job has a score.
    """
    asked, source = _asked(matrix, tell, options), Path(baseline)
    if role(metric) != "score":
        raise ConfigError(f"there is no score {metric!r}{did_you_mean(metric, _scores(asked.matrix))}")
    looks = _looks(asked.matrix)
    jobs, rows = _jobs(asked, looks[-1]), _rows(source)
    data = {label: split.sha for label, split in check_data(jobs, asked.options.get("data")).items()}
    found = comparable(rows, jobs, source=source, metric=metric, data=data)
    with _folder(reuse) as results:
        looked = look_by_look(found, partial(_fresh, asked, results=results), metric=metric, looks=looks)
    return Checked(
        str(source), metric, looked.seeds, looked.boards, found.absent, tuple(notes(looked.boards, found, looked.rows))
    )


def look_by_look(
    found: Baseline, fresh: Callable[[int], pd.DataFrame], *, metric: str, looks: Sequence[int] = LOOKS
) -> Looked:
    """Look at more and more fresh seeds until nothing is open, or there are no more looks.

    Args:
        found: as `comparable` gives it.
        fresh: gives the rows of so many seeds.
        metric: the score that decides.
        looks: at how many seeds; the last ones have the weights of the last looks.
    """
    for seeds, weight in zip(looks, WEIGHTS[-len(looks) :], strict=True):
        rows = fresh(seeds)
        boards = judge(found, rows, metric=metric, weight=weight)
        if _over(boards, found, seeds):
            break
    return Looked(seeds, boards, rows)


def make_baseline(
    matrix: Matrix | str | Path,
    output: str | Path,
    *,
    seeds: int = SEEDS,
    tell: Tell = lambda _event: None,
    **options: Unpack[RunOptions],
) -> int:
    """Run a matrix without controls afresh, and write its rows to a file that `check` takes; returns how many.

    The file is like one of `bench pack`, but without what is known of single queries.

    Raises:
        ConfigError: the request is wrong.
        StoreError: the file cannot be written, or is something else than results.
        NothingMeasured: a job failed or diverged, so nothing was written.
    """
    asked, home = _asked(matrix, tell, options), Path(output)
    refuse_foreign(home)
    with TemporaryDirectory(prefix="lossbench-") as folder:
        _run(asked, seeds, results := Path(folder))
        rows = store.load(results)
        bad = rows[~rows["status"].isin(["done", "skipped"])]
        if len(bad) or not (rows["status"] == "done").any():
            raise NothingMeasured(f"{_endings(bad if len(bad) else rows, len(rows))}; so no baseline was written.")
        return store.pack(results, home, queries=False)


def _asked(matrix: Matrix | str | Path, tell: Tell, options: RunOptions) -> _Asked:
    read_by, way = apart(options)
    if way.get("data") is not None:
        way["data"] = Path(way["data"])
    loaded = read_by.load(matrix)
    way["plugins"] = read_by.plugins
    return _Asked(loaded.model_copy(update={"controls": False}), way, tell)


def _jobs(asked: _Asked, seeds: int) -> tuple[Job, ...]:
    return expand(file.load(asked.matrix, seeds=seeds))


def _run(asked: _Asked, seeds: int, results: Path) -> None:
    """Run what is missing of the seeds 0 to `seeds` - 1."""
    with closing(run(asked.matrix, results=results, seeds=seeds, **asked.options)) as events:
        for event in events:
            asked.tell(event)


def _scores(matrix: Matrix) -> list[str]:
    """Names of the scores that a run has."""
    found = entries("metrics").items()
    by_k = [f"{name}_{k}" for name, entry in found if "k" in entry.positional for k in matrix.recipe.recall_at]
    return by_k + [name for name, entry in found if "k" not in entry.positional]


def _looks(matrix: Matrix) -> list[int]:
    """At how many seeds to look: those of a model ensemble that fuses several are never torn apart."""
    fewest = max((part.seeds for part in (*matrix.model_ensembles, *matrix.students)), default=1)
    return sorted({max(look, fewest) for look in LOOKS})


def _rows(source: Path) -> pd.DataFrame:
    try:
        return store.load(source)
    except FileNotFoundError:
        advice = f"make it with bench check MATRIX --make-baseline {source}"
        raise FileNotFoundError(f"{source}: there is no such baseline; {advice}") from None


@contextmanager
def _folder(reuse: str | Path | None) -> Iterator[Path]:
    """Where fresh rows go: a folder that is kept, or one that is gone afterwards."""
    if reuse is not None:
        yield Path(reuse)
        return
    with TemporaryDirectory(prefix="lossbench-") as folder:
        yield Path(folder)


def _fresh(asked: _Asked, seeds: int, *, results: Path) -> pd.DataFrame:
    _run(asked, seeds, results)
    rows, keys = store.load(results), {job.key for job in _jobs(asked, seeds)}
    own = rows[rows["key"].isin(keys)]
    if not (own["status"] == "done").any():
        raise NothingMeasured(f"nothing was measured: {_endings(own, len(keys))}.")
    return own


def _endings(rows: pd.DataFrame, jobs: int) -> str:
    """How many jobs ended without a score, and how the first one did."""
    first = rows.sort_values(["seed", "objective"]).iloc[0]
    reason = str(first["reason"]).rstrip(".")
    return f"{len(rows)} of {jobs} jobs have no score ({first['objective']} seed {first['seed']}: {reason})"


def _over(boards: Sequence[CheckedBoard], found: Baseline, seeds: int) -> bool:
    """Whether to look no further: one seed decides nothing but that the bits agree, or that a job fails."""
    verdicts = {one.verdict for board in boards for one in board.verdicts}
    return verdicts == {SAME_BITS} or FAILED in verdicts or found.single or (seeds > 1 and settled(boards))
