"""What to know of a check beside its verdicts: how old the baseline is, and on what machine it was made."""

from collections.abc import Iterator, Sequence

import pandas as pd

from bench.analysis.regression import CheckedBoard
from bench.analysis.regression_baseline import Baseline
from bench.stats.regression_gate import SAME_BITS

__all__ = ["notes"]

MACHINE = ("python", "torch", "timm", "pytorch_metric_learning", "device", "threads")
"""What may change bits without a change of the program."""


def notes(boards: Sequence[CheckedBoard], found: Baseline, fresh: pd.DataFrame) -> Iterator[str]:
    """Sentences; none where all bits are the same."""
    if {one.verdict for board in boards for one in board.verdicts} == {SAME_BITS}:
        return
    if found.single:
        yield f"{found.source} has one seed of each method, so no drop can be called worse: make a baseline of more."
    if "embeddings_sha" not in found.rows or found.rows["embeddings_sha"].isna().all():
        yield f"{found.source} is older than the hashes that tell the same bits."
    yield from _machine(found.rows, fresh)


def _machine(before: pd.DataFrame, after: pd.DataFrame) -> Iterator[str]:
    """What else is other than when the baseline was made, and can change bits."""
    parts = []
    for name in MACHINE:
        there, here = (_usual(rows, name) for rows in (before, after))
        if there and here and there != here:
            parts.append(f"{name} {there}, here {here}")
    if parts:
        yield f"The baseline was made elsewhere, so bits may differ: {'; '.join(parts)}."


def _usual(rows: pd.DataFrame, name: str) -> str:
    known = rows[name].dropna() if name in rows else pd.Series(dtype=object)
    return "" if known.empty else f"{known.mode().iloc[0]:g}" if name == "threads" else str(known.mode().iloc[0])
