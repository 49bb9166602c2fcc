"""An estimated difference or mean with what is needed for its interval and its test. Arrays in, numbers out."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

__all__ = ["Estimate", "Numbers", "Reasons", "say"]

Numbers = NDArray[np.float64]
Reasons = NDArray[np.object_]
"""One text per number: why it is NaN, in a sentence; empty where there is a number."""


class Estimate(NamedTuple):
    """Estimates whose error follows Student's t distribution; all fields have one shape, in the unit of the scores."""

    mean: Numbers
    variance: Numbers
    """Of the estimate, not of a single run: the squared standard error."""
    freedom: Numbers
    """Degrees of freedom of the variance."""
    reason: Reasons
    """Why there is no variance (or no mean), in a sentence; empty where there is one."""

    def half_width(self, *, level: float = 0.95) -> Numbers:
        """Half-width of the two-sided interval; NaN where there is a reason.

        Source: Student, "The Probable Error of a Mean", Biometrika 1908.
        """
        if not 0 < level < 1:
            raise ValueError(f"level is {level}; give a number between 0 and 1, such as 0.95.")
        return np.asarray(stdtrit(self.freedom, (1 + level) / 2) * np.sqrt(self.variance))

    def at(self, *indices: Any) -> "Estimate":
        """The estimates at `indices` into the last axes."""
        return Estimate(
            self.mean[..., *indices],
            self.variance[..., *indices],
            self.freedom[..., *indices],
            self.reason[..., *indices],
        )

    def statistic(self) -> Numbers:
        """The mean in standard errors; NaN where there is a reason, or where the mean and the variance are both 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.mean / np.sqrt(self.variance))

    def p_two_sided(self) -> Numbers:
        """P(a difference at least this large, were the true one 0)."""
        return np.asarray(2 * stdtr(self.freedom, -np.abs(self.statistic())))

    def p_above(self) -> Numbers:
        """One-sided: P(a difference at least this high, were the true one 0 or less)."""
        return np.asarray(stdtr(self.freedom, -self.statistic()))


def say(cases: list[tuple[Any, str]], like: ArrayLike) -> Reasons:
    """For each element the sentence of the first case whose condition holds, else an empty text; shape of `like`."""
    found = np.full(np.shape(like), "", dtype=object)
    for condition, sentence in reversed(cases):
        found[np.broadcast_to(condition, found.shape)] = sentence
    return found
