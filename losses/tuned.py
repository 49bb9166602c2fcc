"""Where a search tries values of a hyper-parameter: part of its annotation, as bounds of what is allowed are."""

from typing import NamedTuple

__all__ = ["Tuned"]


class Tuned(NamedTuple):
    """A search tries values from `low` to `high`; evenly in the logarithm where `log` is true.

    It stands at the hyper-parameter that a loss's paper tunes, sometimes at two. The range holds the default and lies
    within what is allowed. A comment names its source where there is one; else it is a judgement: around the paper's
    value, as far as the loss still has an effect and teaches.
    """

    low: float
    high: float
    log: bool = False
