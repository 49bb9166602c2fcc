"""All pairs of a board as the texts that a page shows, small enough to stand in it."""

import math

from bench.analysis.pair_table import PairTable
from bench.analysis.verdict_text import points, probability

__all__ = ["baselines"]

BETTER, TIED, WORSE, NONE = 1, 0, -1, 2


def baselines(pairs: PairTable) -> dict[str, object]:
    """The pairs as JSON values, with what repeats said once.

    `pairs` has five numbers for each pair of `methods`, in the order (0, 1), (0, 2), ..., (1, 2), ...: the difference,
    first less second, and the ends of its 95 % interval, in tenths of a point, null for none; the verdict on the first
    (1 better, -1 worse, 0 not told apart, 2 none); and the place in `texts` of its p, or of why there is no verdict.
    `family` is how many pairs Holm's correction is over.
    """
    texts: dict[str, int] = {}
    numbers: list[int | None] = []
    for difference, width, p, separated, reason in zip(*pairs[1:6], strict=True):
        ends = (difference, difference - width, difference + width)
        text = reason if math.isnan(p) else probability(p)
        verdict = NONE if math.isnan(p) else TIED if not separated else BETTER if difference > 0 else WORSE
        numbers += [*map(_tenths, ends), verdict, texts.setdefault(text, len(texts))]
    return {"methods": pairs.methods, "family": pairs.family, "texts": list(texts), "pairs": numbers}


def _tenths(value: float) -> int | None:
    """Of a point, rounded as `points` does."""
    if math.isnan(value):
        return None
    return int(points(value).replace("−", "-").replace(".", ""))
