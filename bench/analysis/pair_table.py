"""All pairs of a small board in a few columns: what a reader needs to hold every method against any other."""

from collections.abc import Sequence
from typing import NamedTuple

from bench.analysis.board_comparison import BoardComparison

__all__ = ["MOST_PAIRED", "PairTable", "pair_table"]

MOST_PAIRED = 100
"""Methods of a board at most whose pairs are kept; the pairs of more fill a page, and no one holds so many in mind."""


class PairTable(NamedTuple):
    """Pair by pair what `bench compare` says of one board, [P] in the order of `pairs`: the first less the second."""

    methods: int
    difference: Sequence[float]
    """In [-1, 1]; NaN where the two have nothing in common to be compared by."""
    half_width: Sequence[float]
    """Of the 95 % interval over new seeds; NaN where there is none."""
    p: Sequence[float]
    """Corrected by Holm; NaN where no verdict may be given."""
    separated: Sequence[bool]
    reason: Sequence[str]
    """Why there is no verdict, in a sentence."""
    family: int
    """How many pairs Holm's correction is over."""


def pair_table(found: BoardComparison) -> PairTable | None:
    """The pairs of a board; None for one of more than MOST_PAIRED methods."""
    if len(found.board) > MOST_PAIRED:
        return None
    return PairTable(
        len(found.board),
        found.apart.seeds.mean.tolist(),
        found.apart.seeds.half_width().tolist(),
        found.p.tolist(),
        (found.p <= found.alpha).tolist(),
        [str(why) for why in found.reason],
        found.family,
    )
