"""Where a search tries values of a hyper-parameter: part of its annotation, as bounds of what is allowed are."""

from typing import NamedTuple

__all__ = ["Tuned"]


class Tuned(NamedTuple):
    """A search tries values from `low` to `high`; evenly in the logarithm where `log` is true.

    It stands at the hyper-parameter that a loss's paper tunes, sometimes at two. The range holds the default and lies
    within what is allowed. Where the paper names the values that it tried, the range is theirs; else it is around the
    default, up to the values at which the loss has no more effect, or drowns in it.
    """

    low: float
    high: float
    log: bool = False
