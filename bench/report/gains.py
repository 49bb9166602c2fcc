"""What an ensemble gains over the best of its members, paired by seed."""

from collections.abc import Sequence
from typing import NamedTuple

from bench.report.boards import Board, Line
from bench.stats import Gain, interval, paired_gain

__all__ = ["EnsembleGain", "gains"]


class EnsembleGain(NamedTuple):
    """Gain in Recall@1 of one ensemble or model ensemble over its best member, or why none is stated."""

    line: Line
    best: Line | None
    gain: Gain | None
    """In [-1, 1], not points; None where `why` says why."""
    why: str = ""


def gains(board: Board) -> list[EnsembleGain]:
    """One entry for each line of the board that has members, in the board's order."""
    return [_gain(line, board) for line in board.lines if line.members]


def _gain(line: Line, board: Board) -> EnsembleGain:
    candidates = [_runs_alone(member, line, board.lines) for member in line.members]
    missing = [member for member, found in zip(line.members, candidates, strict=True) if not found]
    if missing:
        return EnsembleGain(line, None, None, _why(missing, board))
    members = [candidate for found in candidates for candidate in found]
    seeds = set(line.recalls).intersection(*(member.recalls for member in members))
    if not seeds:
        return EnsembleGain(line, None, None, "not stated: no seed was finished by it and by every member")
    best = max(members, key=lambda member: interval([member.recalls[seed] for seed in seeds]).mean)
    return EnsembleGain(line, best, paired_gain({seed: line.recalls[seed] for seed in seeds}, best.recalls))


def _runs_alone(member: str, line: Line, lines: Sequence[Line]) -> list[Line]:
    """Lines of one member: under the ensemble's own recipe where there is one, else under any."""
    found = [other for other in lines if other.objective == member and other is not line]
    return [other for other in found if other.variant == line.variant] or found


def _why(missing: Sequence[str], board: Board) -> str:
    tried = {cell.objective for cell in board.unfinished}
    parts = [f"member {name} {'has no finished run' if name in tried else 'was not run alone'}" for name in missing]
    return f"not stated: {', '.join(parts)}"
