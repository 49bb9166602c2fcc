"""The search with a fixed budget: every objective of a matrix gets the same number of trials on training classes alone.

This is the protocol of "A Metric Learning Reality Check" (Musgrave, Belongie, Lim, ECCV 2020), with points of a Sobol
sequence instead of Bayesian optimisation: they depend on nothing that was measured. So the same command continues after
a kill, and one with more trials begins with those that there are.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from bench import store
from bench.analysis.search_choice import Choice, choose
from bench.execute.event import Event
from bench.execute.matrix_run import Asked, run_jobs
from bench.execute.run_options import RunOptions, Way, apart
from bench.matrix.expand import expand
from bench.matrix.file import Matrix
from bench.matrix.job import TRAINED, ConfigError, Job, Part
from bench.matrix.recipe import Validation
from bench.matrix.search_space import ranges, trial
from bench.matrix.searched import Searched
from bench.stats.low_discrepancy import sobol
from bench.store.columns import SELECTS

__all__ = ["RESULTS", "SEED", "TRIALS", "SearchedBoard", "search"]

TRIALS = 12
"""Of each objective, the matrix's own setting among them."""
SEED = 1000
"""Of every trial and of the points: apart from the seeds that are reported."""
HELD_OUT = Validation(share=0.2)
"""Which training classes judge a trial, where the matrix holds none out itself."""
RESULTS = "results/search"
"""Apart from results that are reported: the row of a trial has test scores, as every row; nobody should go by them."""


class SearchedBoard(NamedTuple):
    """What a search found on one dataset and backbone."""

    choices: tuple[Choice, ...]
    """Of each loss and ensemble of the matrix, in its order."""
    matrix: Matrix | None
    """For `bench.run`: this dataset and backbone with what was found; None where an objective has no score."""

    @property
    def name(self) -> tuple[str, str]:
        """Labels of dataset and backbone."""
        job = self.choices[0].job
        return job.dataset.label, job.backbone.label


def search(
    matrix: Matrix | str | Path,
    *,
    trials: int = TRIALS,
    results: str | Path = RESULTS,
    tell: Callable[[Event], None] = lambda _event: None,
    **options: Unpack[RunOptions],
) -> tuple[SearchedBoard, ...]:
    """Search learning rates and the parameters that the losses' papers tune, with one budget for every objective.

    Trial 0 is the matrix's own setting. Each trial is a job with a row of its own, judged by the MAP@R of training
    classes that are held out (`validation` of the matrix, else a fifth of the classes), at the epoch that the recipe's
    `select` takes. Test scores are not looked at. A trial that fails or diverges is spent; the same call runs one that
    failed again.

    Every dataset and backbone is searched apart, as in the paper: rates that suit one trunk or dataset need not suit
    another, and one setting for all would favour objectives that are easy to please. An entry of a matrix has one
    setting for all its datasets, so there is one matrix for each dataset and backbone.

    Args:
        matrix: a matrix, the name of one that comes with the project, or the path of a file.
        trials: of each objective, at least 1.
        results: folder of results, in which trials that there are already are found.
        tell: told every event of the run.
        options: how to run, as of `bench.run`.

    Raises:
        ConfigError: the request is wrong: as `bench.run`, or there is nothing to search.
        StoreError: results cannot be written.
    """
    if trials < 1:
        raise ConfigError(f"trials = {trials}: a search needs one trial or more for each objective")
    read_by, way = apart(options)
    asked = read_by.load(matrix)
    boards = _boards(asked)
    tried = {job.key: _trials(job, trials) for _, board in boards for job in board}
    in_turn = sorted((one for several in tried.values() for one in enumerate(several)), key=lambda one: one[0])
    jobs = {job.key: job for _, job in in_turn}
    if not jobs:
        raise ConfigError("there is nothing to search: no objective of this matrix trains for an epoch or more")
    with closing(run_jobs(lambda: Asked(tuple(jobs.values())), Way(Path(results), **way))) as events:
        for event in events:
            tell(event)
    rows = store.load(Path(results))
    found = Searched(
        trials=trials,
        seed=SEED,
        metric=SELECTS,
        validation=asked.recipe.validation or HELD_OUT,
        command=_command(matrix, trials, read_by.changes, read_by.plugins),
    )
    return tuple(
        _searched(asked, place, tuple(choose(job, tried[job.key], rows) for job in board), found)
        for place, board in boards
    )


def _command(matrix: Matrix | str | Path, trials: int, changes: Sequence[str], plugins: Sequence[str | Path]) -> str:
    named = "MATRIX" if isinstance(matrix, Matrix) else str(matrix)
    options = [*(f"--set={one}" for one in changes), *(f"--plugin={one}" for one in plugins)]
    return shlex.join(["bench", "search", named, "--trials", str(trials), *options])


def _boards(matrix: Matrix) -> list[tuple[tuple[Part, Part], tuple[Job, ...]]]:
    """Each dataset and backbone, as the matrix has them, and their losses and ensembles, as they are tried first."""
    if SEED in matrix.seeds:
        raise ConfigError(f"seed {SEED} is that of a search, which must not be reported: name other seeds")
    expand(matrix)
    recipe = matrix.recipe.model_copy(update={"validation": matrix.recipe.validation or HELD_OUT})
    update = {
        "recipe": recipe,
        "seeds": (SEED,),
        "controls": False,
        "model_ensembles": (),
        "students": (),
        "floors": (),
    }
    jobs = [_judged(job) for job in expand(matrix.model_copy(update=update)) if job.kind in TRAINED]
    places = [(dataset, backbone) for dataset in matrix.datasets for backbone in matrix.backbones]
    each = len(jobs) // len(places)
    return [(place, tuple(jobs[at * each : (at + 1) * each])) for at, place in enumerate(places)]


def _judged(job: Job) -> Job:
    """The job with its held-out classes looked at where they count: after the last epoch, unless they select one."""
    if job.recipe.select == "validation":
        return job
    return job.changed(recipe=job.recipe.model_copy(update={"validate_every": max(1, job.recipe.epochs)}))


def _trials(job: Job, count: int) -> tuple[Job, ...]:
    """The trials of an objective; none where it has nothing to search."""
    dimensions = len(ranges(job))
    if not dimensions:
        return ()
    return tuple(trial(job, number, point) for number, point in enumerate(sobol(count, dimensions, seed=SEED).tolist()))


def _searched(matrix: Matrix, place: tuple[Part, Part], choices: tuple[Choice, ...], found: Searched) -> SearchedBoard:
    if any(choice.trials and choice.best is None and not choice.skipped for choice in choices):
        return SearchedBoard(choices, None)
    parts = (*matrix.losses, *matrix.ensembles)
    entries = [_entry(part, choice) for part, choice in zip(parts, choices, strict=True)]
    now = {choice.label: part.label or choice.label for part, choice in zip(entries, choices, strict=True)}
    names = {choice.job.objective.name: now[choice.label] for choice in choices} | now
    update = {
        "datasets": place[:1],
        "backbones": place[1:],
        "losses": tuple(entries[: len(matrix.losses)]),
        "ensembles": tuple(entries[len(matrix.losses) :]),
        "model_ensembles": tuple(_renamed(part, names) for part in matrix.model_ensembles),
        "students": tuple(_renamed(part, names) for part in matrix.students),
        "searched": found,
    }
    return SearchedBoard(choices, matrix.model_copy(update=update))


def _entry(part: Part, choice: Choice) -> Part:
    """The entry of a matrix with what was found for it.

    Members are written out: a member that is named by a label would be the loss as it was found, and that is not what
    was tried.
    """
    update: dict[str, Any] = {"members": choice.job.objective.members}
    if choice.best:
        update["parameters"] = part.parameters | {space.name: v for space, v in choice.values if not space.rate}
        update["recipe"] = part.recipe | {space.name: v for space, v in choice.values if space.rate}
    if choice.best is not None:
        update["label"] = f"tuned {choice.label.removeprefix('tuned ')}"
    return part.model_copy(update=update)


def _renamed(part: Part, names: Mapping[str, str]) -> Part:
    """A model ensemble whose members are named as they are now."""
    members = tuple(Part(name=names.get(member.name, member.name)) for member in part.members)
    return part.model_copy(update={"members": members})
