"""Numbers over seeds: the interval of a mean."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

__all__ = ["Interval", "half_width", "interval"]


class Interval(NamedTuple):
    """A mean and the half-width of its confidence interval, both in the unit of the values."""

    mean: float
    half_width: float
    """NaN for a single value, which has no interval."""


def half_width(sd: ArrayLike, count: ArrayLike, *, level: float = 0.95) -> NDArray[np.float64]:
    """Half-width of Student's t interval of a mean, elementwise: t((1 + level) / 2, count - 1) * sd / sqrt(count).

    `sd` is the sample standard deviation (ddof 1), `count` the number of values; fewer than two values give NaN.
    Source: Student, "The Probable Error of a Mean", Biometrika 1908.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; give a number between 0 and 1, such as 0.95.")
    counts = np.asarray(count, dtype=np.float64)
    freedom = np.where(counts > 1, counts - 1, np.nan)
    return np.asarray(stdtrit(freedom, (1 + level) / 2) * np.asarray(sd) / np.sqrt(freedom + 1), dtype=np.float64)


def interval(values: ArrayLike, *, level: float = 0.95) -> Interval:
    """Mean of `values` [n] and the half-width of its Student t interval; NaN half-width where n is 1.

    Raises ValueError where there is no value or one is not finite: drop missing values first, and say how many remain.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"an interval needs a list of at least one value, not the shape {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError("an interval over NaN or infinite values means nothing; drop them first.")
    sd = array.std(ddof=1) if array.size > 1 else np.nan
    return Interval(float(array.mean()), float(half_width(sd, array.size, level=level)))
