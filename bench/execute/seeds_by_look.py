"""Seeds look by look: which jobs a rule asks for before it looks again, for every board of a matrix."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bench.analysis.look_decision import decide
from bench.analysis.stopping import Decision, Until, mark
from bench.matrix.expand import expand
from bench.matrix.file import Matrix
from bench.matrix.job import ConfigError, Job
from bench.stats.ranks import Flags
from bench.stats.sequential import looks

__all__ = ["ByLook", "Stage", "by_look", "stages"]

Score = Callable[[str], float]
"""The score of a job that has ended, by its key; NaN where it has none."""


class ByLook(NamedTuple):
    """The jobs of a matrix whose seeds a rule chooses."""

    outside: tuple[Job, ...]
    """Floors and untrained lines: run as the matrix has them, and no part of what is decided."""
    boards: tuple[tuple[Job, ...], ...]
    """Of every dataset and backbone all that the rule may ask for."""


class Stage(NamedTuple):
    """What has to end before a board is looked at again."""

    jobs: tuple[Job, ...]
    """None after the last look, but fusions of several seeds."""
    decision: Decision | None
    """Of the look before; None before the first one."""


def by_look(matrix: Matrix, until: Until) -> ByLook:
    """The jobs of a matrix: those with seeds of its own, and those that get the seeds 0, 1, ... by a rule, marked.

    Raises:
        ConfigError: as `expand`; or there is nothing to decide, or the score that decides is not measured.
    """
    jobs = expand(matrix.model_copy(update={"seeds": tuple(range(until.most))}))
    own = expand(matrix.model_copy(update={"model_ensembles": (), "students": ()}))
    methods = [job.changed(stopping=mark(until)) for job in jobs if not _outside(job)]
    boards: dict[tuple[str, str], list[Job]] = {}
    for job in methods:
        boards.setdefault(job.digests[:2], []).append(job)
    for board in boards.values() or [[]]:
        _refuse(board, until)
    return ByLook(tuple(filter(_outside, own)), tuple(map(tuple, boards.values())))


def _outside(job: Job) -> bool:
    return job.kind == "floor" or not job.recipe.epochs


def _refuse(board: Sequence[Job], until: Until) -> None:
    if len({job.objective.label for job in board if job.objective.seeds == 1}) < 2:
        raise ConfigError(
            f"--until {until.rule}: the matrix has fewer than two methods that are trained with one seed at a time, so "
            "there is nothing to decide; add a loss, or run it with --seeds"
        )
    stem, _, k = until.metric.rpartition("_")
    if stem == "recall_at" and (without := [job for job in board if int(k) not in job.recipe.recall_at]):
        raise ConfigError(
            f"--metric {until.metric}: {without[0].objective.label} does not measure it; add {k} to recipe.recall_at"
        )


def stages(jobs: Sequence[Job], until: Until, score: Score) -> Iterator[Stage]:
    """The looks at one board, one stage each: to be asked for the next when the jobs of the one before have ended.

    What is decided depends on the scores of the seeds that the rule asked for, up to its look, and on nothing else. So
    stored rows lead to the decisions that were made when they were new. A job that ended without a score counts as a
    seed without one. A model ensemble that is still in has its members run, also those that are out themselves. One
    that fuses several seeds is no part of what is decided: it is fused in the end, from what ran.
    """
    methods: dict[str, dict[int, Job]] = {}
    for job in jobs:
        if job.objective.seeds == 1:
            methods.setdefault(job.objective.label, {})[job.seed] = job
    table, running = np.full((len(methods), until.most), np.nan), set(methods)
    known, shared = {job.key: job for job in jobs}, _shared([seeds[0] for seeds in methods.values()])
    asked: dict[str, Job] = {}
    decision, before = None, 0
    for look in looks(until.most):
        due = {job.key: job for job in known.values() if _due(job, running, range(before, look))}
        members = {
            one.key: known.get(one.key, one) for job in due.values() for one in job.members if one.key not in due
        }
        asked |= due | members
        yield Stage((*due.values(), *members.values()), decision and _with_members(decision, due, members))
        for row, (label, seeds) in zip(table, methods.items(), strict=True):
            if label in running:
                row[before:look] = [score(seeds[seed].key) for seed in range(before, look)]
        decision = decide(table[:, :look], list(methods), until, shared=shared)
        running, before = set(decision.running), look
        if not running:
            break
    fused = (job for job in jobs if job.objective.seeds > 1 and all(one.key in asked for one in job.members))
    yield Stage(tuple(fused), decision)


def _due(job: Job, running: set[str], seeds: range) -> bool:
    return job.objective.seeds == 1 and job.objective.label in running and job.seed in seeds


def _shared(methods: Sequence[Job]) -> Flags:
    """Which methods are made of trained models that another is made of as well."""
    models = [{one.key for one in job.members} or {job.key} for job in methods]
    return np.array([[bool(one & other) for other in models] for one in models])


def _with_members(decision: Decision, due: Mapping[str, Job], members: Mapping[str, Job]) -> Decision:
    """With a sentence on every method that goes on only because a model ensemble is made of it."""
    users = {
        one.objective.label: job.objective.label for job in due.values() for one in job.members if one.key in members
    }
    said = [f"{member} is run on as a member of {user}." for member, user in users.items()]
    return decision._replace(sentences=(*decision.sentences, *said))
