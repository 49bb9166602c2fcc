"""The answer of a board in a few sentences: who leads, whether ensembles pay, what is missing to say more.

One model with another search at test time is no ensemble, and has a sentence of its own.
"""

import math
from collections.abc import Sequence

from bench.analysis.boards import Board
from bench.analysis.costs import costs
from bench.analysis.gains import EnsembleGain
from bench.analysis.leading_pairs import leading_pairs
from bench.analysis.verdict_text import points, time

__all__ = ["answer"]

COMPARED = (("gain", ""), ("grown", "at equal size, "), ("longer", "at equal cost, "))
"""Field of an ensemble's gain, and what it is held against."""


def answer(board: Board) -> tuple[str, ...]:
    """Sentences that each stand alone; none where nothing is known."""
    ensembles = [one for one in board.gains if not one.line.at_test_time]
    said = (
        board.verdict.sentence,
        _margin(board),
        _cheapest(board),
        _ensembles(ensembles),
        _at_test_time(board.gains),
        _missing(board),
    )
    return tuple(filter(None, said))


def _margin(board: Board) -> str:
    """How far the best trained method that is surely behind the highest mean is behind it."""
    found = leading_pairs(board)
    if found is None:
        return ""
    behind = [at for at, line in enumerate(found.lines) if found.better[found.leader, at] and not line.outside]
    if not behind:
        return ""
    ahead, other = found.lines[found.leader].label, found.lines[behind[0]].label
    gap, width = found.difference[found.leader, behind[0]], found.half_width[found.leader, behind[0]]
    interval = "" if math.isnan(width) else f" ({points(gap - width)} to {points(gap + width)} over seeds)"
    return f"{ahead}, with the highest mean, is surely ahead of {other}, by {points(gap)} points{interval}."


def _cheapest(board: Board) -> str:
    """Of several leaders that cannot be told apart, the one that takes least time: a reason to choose."""
    leaders = [line for line in board.lines if line.cell in board.verdict.leading]
    known = [one for one in costs(board, leaders) if not math.isnan(one.seconds)]
    if len(known) < 2:
        return ""
    least = min(known, key=lambda one: (one.seconds, one.line.label))
    size = "" if least.line.dim is None else f"; its embedding has {least.line.dim:,} numbers"
    return f"Of the leaders, {least.line.label} takes the least time to train, {time(least.seconds)} a seed{size}."


def _ensembles(gains: Sequence[EnsembleGain]) -> str:
    """How many ensembles are shown to be better, as they are, at equal size and at equal cost, and which one most."""
    parts, named = [], ""
    for field, held in COMPARED:
        if known := [(found, one.line.label) for one in gains if (found := getattr(one, field))]:
            above = [(found.mean, label) for found, label in known if found.above]
            most, label = max(above, default=(0.0, ""))
            by = f" ({f'{label} ' if label != named else ''}by {points(most)} points)" if above else ""
            parts.append(f"{held}{len(above) or 'none'} of {len(known)}{by}")
            named = label or named
    return f"Ensembles shown to beat their best member: {'; '.join(parts)}." if parts else ""


def _at_test_time(gains: Sequence[EnsembleGain]) -> str:
    """How many trained models are shown to be better with another search, and which one most."""
    known = [(one.gain, one.line.label) for one in gains if one.line.at_test_time and one.gain]
    most, label = max(((gain.mean, label) for gain, label in known if gain.above), default=(0.0, ""))
    above = sum(gain.above for gain, _ in known)
    by = f" ({label} by {points(most)} points)" if above else ""
    said = (
        f"One model with another search at test time, shown to beat its plain line: {above or 'none'} of {len(known)}"
    )
    return f"{said}{by}; these are no ensembles." if known else ""


def _missing(board: Board) -> str:
    lacking = sum(len(cell.seeds) for cell in board.unfinished)
    return f"{lacking:,} job{' has' if lacking == 1 else 's have'} no score." if lacking else ""
