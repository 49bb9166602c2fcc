"""Differences of all pairs of one board: over all seeds of both, or seed by seed where they share trained models.

An ensemble of models already trained moves with its members (correlation −.8 to .94), so there pairing by seed pays.
Two losses of the same seed are hardly correlated: there it only costs degrees of freedom.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.stats.class_variance import ClassPart, Profiles, class_part, gain_part, profiles
from bench.stats.difference import Indices, Methods, difference, mean, methods
from bench.stats.estimate import Estimate, Numbers

__all__ = ["Differences", "Method", "check_methods", "differences", "summary"]

NO_CLASS_SUMS = "no scores per class are stored for both"
NO_COMMON_SEED = "they share trained models, but no seed has a score of both"

Fields = TypeVar("Fields", Estimate, ClassPart)


class Method(NamedTuple):
    """The scores of one line of a board."""

    label: str
    seeds: tuple[int, ...]
    scores: Numbers
    """[S] of these seeds, in [0, 1]; NaN for a seed without a score."""
    class_sums: Numbers | None = None
    """[S, C]: the same metric summed over the queries of each test class."""
    models: frozenset[str] = frozenset()
    """Keys of the trained models that it is made of: methods that share some are compared seed by seed."""
    outside: bool = False
    """Floors and lines without training, which say nothing about how others vary."""


class Differences(NamedTuple):
    """First less second for every pair, [P] each."""

    seeds: Estimate
    """Over new seeds, on these test classes."""
    spread: Numbers
    """Variance of the difference of two single runs."""
    counts: Numbers
    """The smaller number of seeds of both; the common ones where models are shared."""
    shared: NDArray[np.bool_]
    """Whether the two share trained models."""
    part: ClassPart


def check_methods(lines: Sequence[Method], counts: ArrayLike | None) -> None:
    """Raises ValueError, in a sentence, where labels repeat or shapes do not fit."""
    labels = Counter(line.label for line in lines)
    if len(lines) < 2:
        raise ValueError(f"a comparison needs two methods or more, not {len(lines)}.")
    if twice := sorted(label for label, count in labels.items() if count > 1):
        raise ValueError(f"the label {twice[0]} stands for two methods; tell them apart before they are compared.")
    for line in lines:
        if np.shape(line.scores) != (len(line.seeds),):
            raise ValueError(
                f"{line.label} has {len(line.seeds)} seeds but scores of the shape {np.shape(line.scores)}."
            )
        if len(set(line.seeds)) < len(line.seeds):
            raise ValueError(f"{line.label} has a seed twice; keep one score of each.")
        if line.class_sums is not None:
            _check_class_sums(line, counts)


def _check_class_sums(line: Method, counts: ArrayLike | None) -> None:
    if counts is None:
        raise ValueError(f"{line.label} has class sums: give the queries per class as well.")
    expected, found = (len(line.seeds), np.size(counts)), np.asarray(line.class_sums).shape
    if found != expected:
        raise ValueError(f"{line.label} has class sums of the shape {found}, not {expected}: [seeds, classes].")


def summary(lines: Sequence[Method]) -> Methods:
    """Means and shrunk variances of the methods, of as many seeds as each has."""
    table = np.full((len(lines), max(1, *(len(line.scores) for line in lines))), np.nan)
    for row, line in zip(table, lines, strict=True):
        row[: len(line.scores)] = line.scores
    return methods(table, outside=[line.outside for line in lines])


def differences(
    lines: Sequence[Method], found: Methods, *, at: tuple[Indices, Indices], counts: ArrayLike | None
) -> Differences:
    """Differences of the pairs `at` of methods whose `summary` is `found`; `counts` [C] are the queries per class."""
    first, second = at
    apart = Differences(
        difference(found, first, second),
        found.variance[first] + found.variance[second],
        np.minimum(found.seeds[first], found.seeds[second]),
        np.zeros(len(first), bool),
        _class_part(lines, counts, at=at),
    )
    sharing = _sharing(lines, at)
    if not sharing:
        return apart
    return _seed_by_seed(apart, [_gain(lines[first[one]], lines[second[one]]) for one in sharing], sharing, counts)


def _sharing(lines: Sequence[Method], at: tuple[Indices, Indices]) -> list[int]:
    """The places of the pairs `at` that share trained models: few of the millions that a large board has."""
    made_of: defaultdict[str, list[int]] = defaultdict(list)
    for place, line in enumerate(lines):
        for model in line.models:
            made_of[model].append(place)
    pairs = {pair for users in made_of.values() for pair in combinations(users, 2)}
    first, second = at
    codes = [low * len(lines) + high for low, high in pairs]
    return np.flatnonzero(np.isin(np.minimum(first, second) * len(lines) + np.maximum(first, second), codes)).tolist()


def _gain(one: Method, other: Method) -> Method:
    """First less second in each seed that both have, as if it were a method."""
    seeds = tuple(sorted(set(one.seeds) & set(other.seeds)))
    ours, theirs = ([line.seeds.index(seed) for seed in seeds] for line in (one, other))
    scores = one.scores[ours] - other.scores[theirs]
    if one.class_sums is None or other.class_sums is None:
        return Method("", seeds, scores)
    return Method("", seeds, scores, one.class_sums[ours] - other.class_sums[theirs])


def _seed_by_seed(
    apart: Differences, gains: Sequence[Method], sharing: Sequence[int], counts: ArrayLike | None
) -> Differences:
    """`apart` with the pairs at `sharing` replaced by their gains, whose variances are shrunk over all of them."""
    found = summary(gains)
    seeds = mean(found)
    seeds = seeds._replace(reason=np.where(found.seeds > 0, seeds.reason, NO_COMMON_SEED))
    spread, common, shared = apart.spread.copy(), apart.counts.copy(), apart.shared.copy()
    spread[sharing], common[sharing], shared[sharing] = found.variance, found.seeds, True
    part = apart.part if counts is None else _put(apart.part, sharing, _class_part(gains, counts, at=None))
    return Differences(_put(apart.seeds, sharing, seeds), spread, common, shared, part)


def _put(whole: Fields, places: Sequence[int], values: Fields) -> Fields:
    fields = [field.copy() for field in whole]
    for field, value in zip(fields, values, strict=True):
        field[places] = value
    build: type[Any] = type(whole)
    return cast(Fields, build(*fields))


def _class_part(lines: Sequence[Method], counts: ArrayLike | None, *, at: tuple[Indices, Indices] | None) -> ClassPart:
    """The class part of the pairs `at`, or of each line where the lines are gains themselves."""
    tables = [None if line.class_sums is None else line.class_sums[np.isfinite(line.scores)] for line in lines]
    missing = np.array([table is None or not len(table) for table in tables])
    gone = missing if at is None else missing[at[0]] | missing[at[1]]
    if counts is None or gone.all():
        nothing = np.broadcast_to(np.nan, len(gone))  # one number in memory, however many pairs there are
        return ClassPart(nothing, nothing, nothing, np.broadcast_to(np.array(NO_CLASS_SUMS, object), len(gone)))
    empty = np.zeros((1, np.size(counts)))
    stand_in = [empty if table is None or not len(table) else table for table in tables]
    found: Profiles = profiles(stand_in, counts)
    part = gain_part(found) if at is None else class_part(found, *at)
    variance, freedom, interaction = (np.where(gone, np.nan, number) for number in part[:3])
    return ClassPart(variance, freedom, interaction, np.where(gone, NO_CLASS_SUMS, part.reason))
