"""Which test classes a method loses against the leader of its board, and which it wins."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.analysis.board_lines import FIRST, Line
from bench.analysis.boards import Board
from bench.analysis.class_scores import ClassScores, class_scores
from bench.stats.estimate import Numbers

__all__ = ["AGAINST", "ClassLosses", "class_losses", "held_by_class", "stored_classes"]

AGAINST = 5
"""Methods at most that are held against the leader: each costs a read for each of its seeds."""
EQUAL = 1e-9


class ClassLosses(NamedTuple):
    """One method against the leader, class by class."""

    line: Line
    differences: Numbers
    """[C], its Recall@1 of each class less the leader's, each the mean over seeds; NaN for a class without queries."""
    lost: int
    """Classes in which it finds fewer queries than the leader."""
    won: int


def held_by_class(board: Board) -> list[Line]:
    """The leader, and the best other trained lines that are ranked; nothing where there is no leader."""
    lines = [line for line in board.lines if FIRST in line.scores and line.kind != "control" and not line.outside]
    leader = next((line for line in lines if line.cell in board.verdict.leading), None)
    return [leader, *(line for line in lines if line is not leader)][: 1 + AGAINST] if leader else []


def stored_classes(boards: Sequence[Board], results: Path) -> dict[str, ClassScores]:
    """By the key of its first run, what is stored of the classes of each line that is held against another one."""
    found = {}
    for line in (line for board in boards for line in held_by_class(board)):
        known = ~np.isnan(line.values[FIRST])
        keys = [key for key, there in zip(line.keys, known, strict=True) if there]
        if keys and (scores := class_scores(results, keys, FIRST, line.values[FIRST][known])) is not None:
            found[line.keys[0]] = scores
    return found


def class_losses(board: Board, classes: Mapping[str, ClassScores]) -> list[ClassLosses]:
    """Each method against the leader, best first; those on other queries, or of which nothing is stored, are left out.

    Args:
        board: whose leader.
        classes: as `stored_classes` gives them.
    """
    lines = held_by_class(board)
    if len(lines) < 2 or lines[0].keys[0] not in classes:
        return []
    shares, counts = _shares(classes[lines[0].keys[0]])
    found = []
    for line in lines[1:]:
        own = classes.get(line.keys[0])
        if own is not None and np.array_equal(own[1], counts):
            apart = _shares(own)[0] - shares
            found.append(ClassLosses(line, apart, int((apart < -EQUAL).sum()), int((apart > EQUAL).sum())))
    return found


def _shares(scores: ClassScores) -> tuple[Numbers, Numbers]:
    """The Recall@1 of each class, mean over the seeds; and its number of queries."""
    sums, counts = scores
    return sums.mean(axis=0) / np.where(counts > 0, counts, np.nan), counts
