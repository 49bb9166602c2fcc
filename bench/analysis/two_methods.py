"""Is A better than B? Answers from stored rows, for every board (dataset and backbone) that has both."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.analysis.board_comparison import BoardComparison, Comparison, Standing, pair, standings
from bench.analysis.board_comparison import compare as all_pairs
from bench.analysis.boards_in_common import PairOfBoards, pairs_of_boards
from bench.analysis.class_scores import with_class_sums
from bench.analysis.find_method import chosen_boards, named
from bench.analysis.methods_of_rows import ScoredBoard, Source, scored_boards
from bench.analysis.verdict_text import across_in_words, board_in_words, pair_in_words
from bench.matrix.catalogue import did_you_mean
from bench.matrix.job import ConfigError
from bench.stats.across_datasets import across
from bench.stats.estimate import Estimate
from bench.store import load, mirrored
from bench.store.columns import scores

__all__ = ["Compared", "ComparedBoard", "NothingToCompare", "compare", "compare_all", "compare_pair"]

ONE_METHOD = "has one method with this score, and so nothing to compare"
NO_CLASSES = "No scores per class are stored: this is about these test classes, and nothing is known about new ones."


class NothingToCompare(ValueError):
    """The request is right, but no board has what it asks for; one sentence says why."""


class ComparedBoard(NamedTuple):
    """What is known of one board under one metric."""

    dataset: str
    backbone: str
    metric: str
    verdict: str
    """Who leads, in one sentence; of two sources, what is known of A and B."""
    methods: tuple[Standing, ...]
    """All methods of the board, best first; of two sources, A and B."""
    pairs: tuple[Comparison, ...]
    """The pair that was asked for, else all pairs."""
    sentences: tuple[str, ...]
    """What is known of each pair, in words."""
    notes: tuple[str, ...]
    """What a reader must know of the rows behind it: other recipes, left-out rows, no scores per class."""


class Compared(NamedTuple):
    """Comparisons of methods, board by board."""

    boards: tuple[ComparedBoard, ...]
    across: tuple[str, ...]
    """The pair over several datasets, one sentence per backbone; empty for one dataset, or where all were asked for."""
    notes: tuple[str, ...]
    """Which boards are left out, and why."""


def compare(
    a: str | None = None,
    b: str | None = None,
    *,
    results: str | Path = "results/runs",
    against: str | Path | None = None,
    dataset: str | None = None,
    metric: str = "recall_at_1",
) -> Compared:
    """Is A better than B? For every board (dataset and backbone) that has both; without A and B, all pairs.

    Args:
        a: label, key or cell of a method in `results`.
        b: the same in `against`, else in `results`.
        results: folder of results, a file of `bench pack`, or an address such as s3://bucket/prefix.
        against: another one.
        dataset: label of the only dataset to look at.
        metric: a column of scores.

    Raises:
        ConfigError: there is no such method, dataset or metric, or a label that two methods share.
        NothingToCompare: no board has both.
    """
    source = _source(results)
    if a is None or b is None:
        if a or b or against:
            raise ConfigError("a comparison needs A and B; leave out both, and `against`, to compare all methods.")
        return compare_all(source, dataset=dataset, metric=metric)
    other = None if against is None else _source(against)
    return compare_pair(a, b, source=source, other=other, dataset=dataset, metric=metric)


def _source(results: str | Path) -> Source:
    place = mirrored(results)
    return Source(place, load(place))


def compare_all(source: Source, *, dataset: str | None = None, metric: str = "recall_at_1") -> Compared:
    """All pairs of every board, controls left out. Raises as `compare` does."""
    found = chosen_boards(_scored(source, metric), dataset)
    several = [one for one in found if len(one.lines) > 1]
    notes = tuple(f"{_place(one)} {ONE_METHOD}." for one in found if len(one.lines) < 2)
    if not several:
        raise NothingToCompare(f"{source.path}: {notes[0]}" if notes else _no_scores(source, metric))
    return Compared(tuple(_whole(one, metric) for one in several), (), notes)


def compare_pair(
    a: str, b: str, *, source: Source, other: Source | None = None, dataset: str | None = None, metric: str
) -> Compared:
    """A of one source against B of the same, or of another one. Raises as `compare` does."""
    if other is not None and other.path.resolve() == source.path.resolve():
        other = None
    ours = chosen_boards(_scored(source, metric, (a, b)), dataset)
    theirs = ours if other is None else chosen_boards(_scored(other, metric, (a, b)), dataset)
    first, second = named(ours, a, source), named(theirs, b, other or source)
    names = _names(a, b, source, other)
    found, apart = pairs_of_boards(ours, first, theirs, second, names=names)
    if not found:
        raise NothingToCompare(" ".join(apart))
    compared = [(one, _compared(one, metric)) for one in found]
    boards = tuple(_of_pair(one, whole, metric) for one, whole in compared)
    return Compared(boards, tuple(_across(compared, *names)), tuple(apart))


def _names(a: str, b: str, source: Source, other: Source | None) -> tuple[str, str]:
    return (a, b) if other is None else (f"{a} [{source.path}]", f"{b} [{other.path}]")


def _scored(source: Source, metric: str, names: Sequence[str] = ()) -> list[ScoredBoard]:
    known = scores(list(source.rows.columns))
    if source.rows.empty:
        raise NothingToCompare(f"{source.path} has no results to compare; run a matrix first: bench run demo")
    if metric not in known:
        raise ConfigError(f"there is no score {metric!r} in {source.path}{did_you_mean(metric, known)}")
    found = scored_boards(source, metric, names)
    if not found:
        raise NothingToCompare(_no_scores(source, metric))
    return found


def _no_scores(source: Source, metric: str) -> str:
    return f"{source.path}: no job has a score {metric!r}; see `bench report --results {source.path}` for the reasons."


def _whole(one: ScoredBoard, metric: str) -> ComparedBoard:
    stored = [(one.source, line.keys) for line in one.lines]
    methods, counts = with_class_sums(one.methods, stored, metric)
    found = all_pairs(methods, counts=counts)
    labels = [method.label for method in methods]
    pairs = tuple(pair(found, labels[i], labels[j]) for i, j in zip(*found.at, strict=True))
    notes = [*one.board.notes, *_still(found), *([] if counts is not None else [NO_CLASSES])]
    return _board(one, found, metric, pairs, notes)


def _compared(one: PairOfBoards, metric: str) -> BoardComparison:
    methods, counts = with_class_sums(one.methods, one.stored, metric)
    return all_pairs(methods, counts=counts, only=one.only)


def _of_pair(one: PairOfBoards, found: BoardComparison, metric: str) -> ComparedBoard:
    answer = pair(found, one.a, one.b)
    notes = [*one.notes, *(text for text in _still(found) if text.startswith((f"{one.a}: ", f"{one.b}: ")))]
    notes += [NO_CLASSES] if answer.new.reason and not answer.separated and not answer.reason else []
    board = _board(one.board, found, metric, (answer,), notes)
    if one.only is None:
        return board
    # Of two sources the others are not ranked: only A and B have a place.
    sides = tuple(place for place in board.methods if place.label in (one.a, one.b))
    return board._replace(verdict=board.sentences[0], methods=sides)


def _board(
    one: ScoredBoard, found: BoardComparison, metric: str, pairs: tuple[Comparison, ...], notes: Sequence[str]
) -> ComparedBoard:
    places = standings(found)
    return ComparedBoard(
        dataset=one.board.dataset,
        backbone=one.board.backbone,
        metric=metric,
        verdict=board_in_words(found, places),
        methods=tuple(sorted(places, key=lambda place: (-np.nan_to_num(place.mean, nan=-1.0), place.label))),
        pairs=pairs,
        sentences=tuple(map(pair_in_words, pairs)),
        notes=tuple(notes),
    )


def _still(found: BoardComparison) -> list[str]:
    """The trained methods all of whose seeds score the same, which is rare enough to be looked at."""
    methods = zip(found.board, found.methods.own, found.methods.seeds, strict=True)
    return [
        f"{line.label}: all of its {int(seeds)} seeds score exactly the same; see that they are different runs."
        for line, own, seeds in methods
        if own == 0 and not line.outside
    ]


def _across(compared: Sequence[tuple[PairOfBoards, BoardComparison]], a: str, b: str) -> list[str]:
    """The pair over several datasets with one backbone, one sentence per backbone."""
    known = [(one, *_signed(found, one)) for one, found in compared]
    known = [(one, seeds, p) for one, seeds, p in known if np.isfinite(p)]
    known.sort(key=lambda entry: entry[0].board.board.backbone)
    said = []
    for _, part in groupby(known, key=lambda entry: entry[0].board.board.backbone):
        _, estimates, ps = zip(*part, strict=True)
        if len(ps) > 1:
            together = Estimate(*(np.concatenate(fields) for fields in zip(*estimates, strict=True)))
            said.append(across_in_words(across(together, ps), a, b))
    return said


def _signed(found: BoardComparison, one: PairOfBoards) -> tuple[Estimate, float]:
    """A less B, [1], and Holm's p."""
    labels = [method.label for method in found.board]
    ends = labels.index(one.a), labels.index(one.b)
    at = int(np.flatnonzero((found.at[0] == min(ends)) & (found.at[1] == max(ends)))[0])
    seeds = found.apart.seeds.at(slice(at, at + 1))
    return (seeds if ends[0] < ends[1] else seeds._replace(mean=-seeds.mean)), float(found.p[at])


def _place(one: ScoredBoard) -> str:
    return f"{one.board.dataset}, {one.board.backbone}"
