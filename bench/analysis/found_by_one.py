"""What one method finds and another does not: which queries to show of it, and which classes are confused. Values only.

What is shown is chosen by one rule. A query whose first hit is farther down comes first, of equals the one with the
lower number; and of each class one comes before any class comes twice, so that one bad class does not fill the list.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.store.queries import Queries

__all__ = ["NEIGHBOURS", "Confusion", "Example", "Strip", "confusions", "examples", "found_by_one", "known", "worst"]

NEIGHBOURS = 5
"""How many neighbours of a query are shown."""

Rows = NDArray[np.int64]


class Strip(NamedTuple):
    """What one method ranks first for a query."""

    first_hit: int
    """The rank of its first hit, from 1; 0 where none was found as deep as was searched."""
    neighbours: tuple[int, ...]
    """Rows of the gallery, or of the queries, nearest first; five, or all where there are fewer."""


class Example(NamedTuple):
    """One query, and what each of the methods ranks first for it."""

    query: int
    strips: tuple[Strip, ...]


class Confusion(NamedTuple):
    """How often the nearest neighbour of a query of one class is of another."""

    asked: int
    """The number of the queries' class."""
    taken_for: int
    """The number of the neighbours' class."""
    times: int
    of: int
    """Queries of the class whose neighbours are stored."""


def known(found: Queries) -> NDArray[np.bool_]:
    """[Q]: whether the neighbours of a query are stored."""
    near = found.neighbours
    return np.zeros(len(found.first_hit), bool) if near is None or not near.shape[1] else near[:, 0] >= 0


def found_by_one(finder: Queries, other: Queries, classes: Rows) -> tuple[int, Rows]:
    """How many queries one finds at rank 1 and the other misses; and those that can be shown, in the rule's order.

    Args:
        finder, other: of the same queries.
        classes: [Q], the number of each query's class.
    """
    won = (finder.first_hit == 1) & (other.first_hit != 1)
    return int(won.sum()), _ordered(np.flatnonzero(won & known(finder) & known(other)), other.first_hit, classes)


def worst(found: Queries, classes: Rows, findable: NDArray[np.bool_]) -> tuple[int, Rows]:
    """How many queries are missed at rank 1; and those that can be shown, in the rule's order.

    Args:
        found: of Q queries.
        classes: [Q], the number of each query's class.
        findable: [Q], whether a query has anything to find.
    """
    missed = (found.first_hit != 1) & findable
    return int(missed.sum()), _ordered(np.flatnonzero(missed & known(found)), found.first_hit, classes)


def confusions(found: Queries, classes: Rows, offered: Rows, findable: NDArray[np.bool_]) -> list[Confusion]:
    """The pairs of a query's class and its nearest neighbour's, where they differ, the most frequent first.

    Of equals the lower number of the query's class first, then of the neighbour's.

    Args:
        found: of Q queries.
        classes: [Q], the number of each query's class.
        offered: [N], the number of each candidate's class.
        findable: [Q], whether a query has anything to find; what has not is not counted.
    """
    rows = np.flatnonzero(known(found) & findable)
    if found.neighbours is None or not len(rows):
        return []
    pairs = np.stack([classes[rows], offered[found.neighbours[rows, 0]]], axis=1)
    of = Counter(pairs[:, 0].tolist())
    differ, counts = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0, return_counts=True)
    listed = [Confusion(a, b, n, of[a]) for (a, b), n in zip(differ.tolist(), counts.tolist(), strict=True)]
    return sorted(listed, key=lambda one: (-one.times, one.asked, one.taken_for))


def examples(rows: Rows, *methods: Queries) -> tuple[Example, ...]:
    """These queries with what each of the methods, which must know their neighbours, ranks first."""
    return tuple(Example(int(row), tuple(_strip(found, int(row)) for found in methods)) for row in rows)


def _strip(found: Queries, row: int) -> Strip:
    assert found.neighbours is not None
    return Strip(int(found.first_hit[row]), tuple(map(int, found.neighbours[row, :NEIGHBOURS])))


def _ordered(rows: Rows, first_hit: NDArray[np.int32], classes: Rows) -> Rows:
    depth = np.where(first_hit[rows] == 0, np.inf, first_hit[rows])
    deepest = rows[np.lexsort((rows, -depth))]
    turns = pd.Series(classes[deepest]).groupby(classes[deepest]).cumcount().to_numpy()
    return deepest[np.argsort(turns, kind="stable")]
