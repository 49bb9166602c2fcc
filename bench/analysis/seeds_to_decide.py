"""How many more seeds would tell two methods apart, and what these would cost, from what is stored of them."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from bench.analysis.board_comparison import Comparison, Range
from bench.analysis.find_method import named
from bench.analysis.methods_of_rows import Source, scored_boards
from bench.analysis.older_jobs import with_jobs
from bench.analysis.two_methods import ComparedBoard, NothingToCompare, compare_pair
from bench.analysis.verdict_text import CLASSES_HIDE, pair_in_words
from bench.matrix.job import ConfigError, Job
from bench.stats.power import MOST_SEEDS

__all__ = ["SeedsToDecide", "seeds_to_decide"]


class SeedsToDecide(NamedTuple):
    """What one pair still needs on one board; NaN where nothing can be said of it."""

    dataset: str
    backbone: str
    metric: str
    a: str
    b: str
    seeds: tuple[int, int]
    """That A and B have."""
    decided: bool
    """They are told apart already, on these test classes."""
    needed: Range
    """Seeds of each in all, those that they have among them; infinite for more than 60."""
    hours: Range
    """Of one worker, for the seeds that are missing; those of 60 seeds each where more are needed."""
    classes_exceed: bool
    """On new test classes no number of seeds settles it."""
    sentences: tuple[str, ...]


def seeds_to_decide(a: str, b: str, *, source: Source, matrix: str, metric: str) -> tuple[SeedsToDecide, ...]:
    """For every board that has A and B, the seeds that they still need.

    Args:
        a: label, key or cell of a method.
        b: of another one.
        source: stored rows, and the jobs of the matrix; only rows of its cells count.
        matrix: its name, for advice.
        metric: a column of scores.

    Raises:
        ConfigError: there is no such method or metric, or both are the same.
        NothingToCompare: too little is stored; the sentence says what to run first.
    """
    if a == b:
        raise ConfigError(f"--decide: {a!r} is compared with itself; name two methods")
    advice = f"run two seeds first: bench run {matrix} --seeds 2"
    rows = with_jobs(source.rows)
    kept = source._replace(rows=rows[rows["cell"].isin({job.cell for job in source.jobs})])
    for name in (a, b):
        asked = {job.cell for job in source.jobs if name in (job.objective.label, job.cell, job.key)}
        if kept.rows.empty or (asked and not kept.rows["cell"].isin(asked).any()):
            raise NothingToCompare(f"{source.path} has no results of {name!r} in the matrix {matrix}; {advice}")
    answers = compare_pair(a, b, source=kept, metric=metric).boards
    boards = scored_boards(kept, metric)
    lines = [named(boards, name, kept) for name in (a, b)]
    cells = {
        (one.board.dataset, one.board.backbone): [one.lines[places[at]].cell for places in lines if at in places]
        for at, one in enumerate(boards)
    }
    found = [_answer(board, _runs(kept.rows, cells[board.dataset, board.backbone]), advice) for board in answers]
    if not any(one.decided or one.needed.low > 0 for one in found):
        raise NothingToCompare("\n".join(f"{one.dataset}, {one.backbone}: {' '.join(one.sentences)}" for one in found))
    return tuple(found)


class Runs(NamedTuple):
    """What a further seed of two methods trains: cells, by their place."""

    times: list[int]
    """That each is trained for one value of the methods: several where a model ensemble fuses several seeds."""
    stored: list[int]
    """Seeds that are done."""
    seconds: list[float]
    """Of one seed, on average; NaN where none is stored."""


def _runs(rows: pd.DataFrame, cells: Sequence[str]) -> Runs:
    """Of these cells and, for model ensembles, of their members; what both are made of is trained once."""
    texts = dict(zip(rows["cell"], rows["job"], strict=True))
    times = Counter[str]()
    for job in (Job.stored(str(texts[cell])) for cell in cells):
        times |= _trained(job) if job else Counter()
    done = rows[(rows["status"] == "done") & rows["cell"].isin(times)].groupby("cell")
    seeds, seconds = done["seed"].nunique().to_dict(), done["seconds"].mean().to_dict()
    return Runs(list(times.values()), [seeds.get(cell, 0) for cell in times], [seconds.get(c, math.nan) for c in times])


def _trained(job: Job) -> Counter[str]:
    return sum((_trained(member) for member in job.members), Counter({job.cell: 1}))


def _hours(runs: Runs, target: float) -> float:
    """Of one worker, until both methods have so many seeds."""
    missing = [max(target * times - stored, 0.0) for times, stored in zip(*runs[:2], strict=True)]
    return sum(count * seconds for count, seconds in zip(missing, runs.seconds, strict=True) if count) / 3600


def _answer(board: ComparedBoard, runs: Runs, advice: str) -> SeedsToDecide:
    (pair,) = board.pairs
    needed = _needed(pair)
    found = SeedsToDecide(
        *(board.dataset, board.backbone, board.metric, pair.a, pair.b, pair.seeds),
        decided=pair.separated,
        needed=needed,
        hours=Range(*(0.0 if pair.separated else _hours(runs, min(number, MOST_SEEDS)) for number in needed)),
        classes_exceed=pair.new.exceed,
        sentences=(),
    )
    return found._replace(sentences=tuple(_sentences(found, pair, advice)))


def _needed(pair: Comparison) -> Range:
    """At least one seed more than the two have, because these did not do; NaN where nothing is needed or known."""
    if pair.separated or math.isnan(pair.p):
        return Range(math.nan, math.nan)
    one_more = min(pair.seeds) + 1.0
    return Range(max(pair.needed.low, one_more), max(pair.needed.high, one_more))


def _sentences(found: SeedsToDecide, pair: Comparison, advice: str) -> Iterator[str]:
    yield pair_in_words(pair)
    if found.decided:
        yield "No more seeds are needed."
        if found.classes_exceed:
            yield CLASSES_HIDE
    elif math.isnan(found.needed.low):
        yield f"To say more, {advice}." if min(pair.seeds) < 2 else "So it cannot be said how many seeds are needed."
    else:
        missing = " and ".join(f"{_missing(found.needed, have)} of {label}" for label, have in _sides(found))
        yield f"Seeds still needed: {missing}; {_cost(found)}."


def _sides(found: SeedsToDecide) -> Iterator[tuple[str, int]]:
    yield found.a, found.seeds[0]
    yield found.b, found.seeds[1]


def _missing(needed: Range, have: int) -> str:
    most = f"more than {max(MOST_SEEDS - have, 0)}"
    return _span(*(most if math.isinf(number) else f"{max(number - have, 0):.0f}" for number in needed))


def _cost(found: SeedsToDecide) -> str:
    if math.isnan(found.hours.high):
        return "what these cost is not known, because no times are stored"
    more = "more than " if math.isinf(found.needed.high) else ""
    low = "more than " if math.isinf(found.needed.low) else ""
    return (
        f"{_span(f'{low}{found.hours.low:.2g}', f'{more}{found.hours.high:.2g}')} hours of one worker, by stored times"
    )


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"
