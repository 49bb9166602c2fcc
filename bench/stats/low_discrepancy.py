"""Points that fill a unit cube more evenly than random ones."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["sobol"]


def sobol(count: int, dimensions: int, *, seed: int) -> NDArray[np.float64]:
    """The first points [count, dimensions] in [0, 1) of a scrambled Sobol sequence (Owen, 1998).

    More points begin with the same ones.
    """
    from scipy.stats import qmc  # seconds to import, which a plan need not wait for

    sequence = qmc.Sobol(dimensions, scramble=True, seed=np.random.default_rng(seed))
    points: NDArray[np.float64] = sequence.random_base2(max(count - 1, 0).bit_length())[:count]
    return points
