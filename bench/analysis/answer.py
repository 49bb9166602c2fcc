"""The answer of a board in a few sentences: who leads, whether ensembles pay, what is missing to say more."""

from collections.abc import Sequence

from bench.analysis.boards import Board
from bench.analysis.gains import EnsembleGain
from bench.analysis.verdicts import points

__all__ = ["answer"]

COMPARED = (("gain", ""), ("grown", "at equal size, "), ("longer", "at equal cost, "))
"""Field of an ensemble's gain, and what it is held against."""


def answer(board: Board) -> tuple[str, ...]:
    """Sentences that each stand alone; none where nothing is known."""
    return tuple(filter(None, (board.verdict.sentence, _ensembles(board.gains), _missing(board))))


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


def _missing(board: Board) -> str:
    lacking = sum(len(cell.seeds) for cell in board.unfinished)
    return f"{lacking:,} job{' has' if lacking == 1 else 's have'} no score." if lacking else ""
