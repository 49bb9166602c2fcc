"""What changed between two sets of stored rows: methods that came or went, other scores, other places."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bench.analysis.board_comparison import BoardComparison, compare
from bench.analysis.board_lines import FIRST, Line
from bench.analysis.differences import Method
from bench.analysis.methods_of_rows import ScoredBoard, Source, scored_boards

__all__ = ["BoardChanges", "Change", "changes"]


class Change(NamedTuple):
    """One cell that both sides have; scores are Recall@1 in [0, 1]."""

    label: str
    before: float
    after: float
    half_width: float
    """Of the 95 % interval of their difference over new seeds; NaN where there is none."""
    verdict: str
    """"same runs", "more seeds", "fewer seeds", "better", "worse", "cannot be told apart", or "no verdict"."""
    places: tuple[int, int]
    """Before and after, by the mean, of the methods that both sides have."""


class BoardChanges(NamedTuple):
    """One board of the newer rows."""

    dataset: str
    backbone: str
    new: tuple[str, ...]
    """Labels of methods that only the newer rows have."""
    gone: tuple[str, ...]
    """Those that only the older rows have."""
    changes: tuple[Change, ...]
    """Of the methods that both have, best first."""
    family: int
    """How many pairs Holm's correction is over: each cell with itself."""
    why: str
    """Why nothing is compared, in a sentence; empty where something is."""


def changes(newer: Source, older: Source) -> list[BoardChanges]:
    """Board by board what differs, controls left out.

    Boards are the same where dataset, version of the data, trunk and protocol are; methods where their cell is.

    Raises:
        ValueError: one of the two has no rows.
    """
    before = {one.place: one for one in scored_boards(older, FIRST)}
    return [_changes(one, before.get(one.place)) for one in scored_boards(newer, FIRST)]


def _changes(now: ScoredBoard, then: ScoredBoard | None) -> BoardChanges:
    board = BoardChanges(now.board.dataset, now.board.backbone, (), (), (), 0, "")
    if then is None:
        return board._replace(why="the older rows have no board with this data, trunk and protocol")
    ours, theirs = ({line.cell: at for at, line in enumerate(side.lines)} for side in (now, then))
    common = [cell for cell in ours if cell in theirs]
    board = board._replace(
        new=tuple(line.label for line in now.lines if line.cell not in theirs),
        gone=tuple(line.label for line in then.lines if line.cell not in ours),
    )
    pairs = [(now.lines[ours[cell]], then.lines[theirs[cell]]) for cell in common]
    known = [_runs(one, two) for one, two in pairs]
    again = [at for at, verdict in enumerate(known) if not verdict]
    found = _compared(now, then, [(ours[common[at]], theirs[common[at]]) for at in again])
    said = dict(zip(again, _verdicts(found) if found else [], strict=True))
    before, after = ([pair[side].scores[FIRST].mean for pair in pairs] for side in (1, 0))
    places = zip(_places(before), _places(after), strict=True)
    return board._replace(
        changes=tuple(
            Change(pairs[at][0].label, before[at], after[at], *said.get(at, (math.nan, known[at])), place)
            for at, place in enumerate(places)
        ),
        family=found.family if found else 0,
    )


def _runs(now: Line, then: Line) -> str:
    """What is known without a test, because both have the same runs; empty where they do not."""
    if now.models == then.models:
        return "same runs"
    return "more seeds" if now.models > then.models else "fewer seeds" if now.models < then.models else ""


def _compared(now: ScoredBoard, then: ScoredBoard, pairs: Sequence[tuple[int, int]]) -> BoardComparison | None:
    """The cells that ran again, each with itself; all other methods lend their variances."""
    if not pairs:
        return None
    ours, theirs = (_labelled(side.methods, end) for side, end in ((now, "now"), (then, "then")))
    known = {method.models for method in ours}
    wanted = {at for _, at in pairs}
    kept = [at for at, method in enumerate(theirs) if at in wanted or method.models not in known]
    first = np.array([at for at, _ in pairs], np.intp)
    second = np.array([len(ours) + kept.index(at) for _, at in pairs], np.intp)
    return compare([*ours, *(theirs[at] for at in kept)], only=(first, second))


def _labelled(methods: Sequence[Method], end: str) -> list[Method]:
    return [method._replace(label=f"{method.label} [{end}]") for method in methods]


def _verdicts(found: BoardComparison) -> list[tuple[float, str]]:
    widths, differences = found.apart.seeds.half_width(), found.apart.seeds.mean
    said = []
    for width, difference, p in zip(widths, differences, found.p, strict=True):
        sure = bool(p <= found.alpha)
        verdict = ("better" if difference > 0 else "worse") if sure else "cannot be told apart"
        said.append((float(width), "no verdict" if np.isnan(p) else verdict))
    return said


def _places(means: Sequence[float]) -> list[int]:
    """1 for the highest."""
    order = sorted(range(len(means)), key=lambda at: -means[at])
    return [order.index(at) + 1 for at in range(len(means))]
