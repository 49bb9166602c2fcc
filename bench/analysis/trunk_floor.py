"""The pretrained trunk alone, and which lines of its board are not above it."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench.analysis.board_lines import FIRST, Line
from bench.matrix.frozen_backbones import TRUNK
from bench.matrix.job import Job

__all__ = ["TrunkFloor", "trunk_floor"]


class TrunkFloor(NamedTuple):
    """The best form of the trunk alone, by Recall@1."""

    line: Line
    below: frozenset[str]
    """The cells that are not above it: their mean is not higher, or its interval reaches down to it."""
    sentence: str


def trunk_floor(lines: Sequence[Line], jobs: Mapping[str, Job]) -> TrunkFloor | None:
    """What stands on a board for the trunk alone; None where nothing does.

    Args:
        lines: of the board.
        jobs: by cell.
    """
    scored = [line for line in lines if FIRST in line.scores]
    alone = [line for line in scored if line.kind == "floor" and line.cell in jobs and _is_trunk(jobs[line.cell])]
    if not alone:
        return None
    best = max(alone, key=lambda line: line.scores[FIRST].mean)
    trained = [line for line in scored if line.kind not in {"floor", "control"}]
    below = [line for line in scored if line.kind != "floor" and _reaches(line, best.scores[FIRST].mean)]
    above = sum(line not in below for line in trained)
    score = f"{best.label}: {100 * best.scores[FIRST].mean:.1f}"
    sentence = f"{above} of {len(trained)} lines are above the trunk alone ({score})." if trained else ""
    return TrunkFloor(best, frozenset(line.cell for line in below), sentence)


def _is_trunk(job: Job) -> bool:
    return job.objective.name == TRUNK


def _reaches(line: Line, score: float) -> bool:
    """Whether the interval of a line, or without one its mean, reaches down to a score."""
    own = line.scores[FIRST]
    return own.mean - (0 if math.isnan(own.half_width) else own.half_width) <= score
