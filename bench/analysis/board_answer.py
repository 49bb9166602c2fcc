"""The answer of a board in a few sentences: who leads, whether ensembles pay, what is missing to say more.

One model with another search at test time is no ensemble, and has a sentence of its own.
"""

import math
from collections.abc import Sequence

from bench.analysis.board_lines import FIRST
from bench.analysis.boards import Board
from bench.analysis.costs import Cost, costs
from bench.analysis.gains import EnsembleGain
from bench.analysis.leading_pairs import leading_pairs
from bench.analysis.verdict_text import points, time

__all__ = ["answer"]

QUICKER = 1.25
"""How many times less a method takes that is called quicker: times of a second run differ by less."""
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
    """What the leader costs, of several the one that takes least time; and what it costs to save more."""
    known = [one for one in costs(board, board.lines) if one.seconds > 0]
    leaders = [one for one in known if one.line.cell in board.verdict.leading]
    if not leaders:
        return ""
    least = min(leaders, key=lambda one: (one.seconds, one.line.label))
    size = "" if least.line.dim is None else f"; its embedding has {least.line.dim:,} numbers"
    label, seconds = least.line.label, time(least.seconds)
    alone = f"{label} takes {seconds} to train a seed"
    cost = f"Of the leaders, {label} takes the least time to train, {seconds} a seed" if len(leaders) > 1 else alone
    return f"{cost}{size}. {_quicker(least, known)}"


def _quicker(leader: Cost, known: Sequence[Cost]) -> str:
    """Of the methods that take clearly less time, the one with the highest mean, and how far it is behind."""
    quick = [one for one in known if QUICKER * one.seconds <= leader.seconds and one.line.kind != "control"]
    if not quick:
        return "No other method takes much less time."
    best = max(quick, key=lambda one: one.line.scores[FIRST].mean)
    behind = leader.line.scores[FIRST].mean - best.line.scores[FIRST].mean
    how_far = f"{points(behind)} points behind it" if behind > 0 else "and its mean is as high"
    times = f"{leader.seconds / best.seconds:.1f} times less"
    return f"The best of those that take much less is {best.line.label}: {times}, {how_far}."


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
