"""Which of several is best, chosen without the seed that it is then compared in."""

from collections.abc import Mapping

import numpy as np

__all__ = ["best_elsewhere"]


def best_elsewhere(scores: Mapping[str, Mapping[int, float]], seed: int) -> str | None:
    """Whose mean over the seeds other than `seed` is highest; the first of equals, None where there are no others.

    `scores` map a name and a seed to a value. Only seeds that all have count. What is picked so was not picked by the
    luck of `seed`, so a difference from it there is not biased against either side.
    """
    shared = set.intersection(*(set(values) for values in scores.values())) - {seed} if scores else set()
    if not shared:
        return None
    return max(scores, key=lambda name: float(np.mean([scores[name][other] for other in sorted(shared)])))
