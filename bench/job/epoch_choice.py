"""Which epoch counts: what the classes held out say of every epoch that was looked at."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from bench.store.columns import LOOKS, SELECTS

__all__ = ["selection"]


def selection(models: Sequence[tuple[Sequence[Mapping[str, float]], int]]) -> dict[str, float]:
    """What holding classes out tells of a job, from the history and the epoch that counts of each of its models.

    validation_NAME are scores of the classes held out at the epoch that counts. recall_at_1_selected, _last and _oracle
    are test scores at the epoch that these classes select, at the last, and at the test's own best, which no one may
    select. All are means over the models; nothing where no class was held out.
    """
    looks = [[epoch for epoch in history if not math.isnan(epoch.get(SELECTS, math.nan))] for history, _ in models]
    if not looks or not all(looks):
        return {}
    counts = [
        next(one for one in seen if one["epoch"] == epoch) for seen, (_, epoch) in zip(looks, models, strict=True)
    ]
    selected = [max(seen, key=lambda one: one[SELECTS]) for seen in looks]
    return {
        **{name: _mean([one[name] for one in counts]) for name in LOOKS if name.startswith("validation_")},
        "recall_at_1_selected": _mean([one["test_recall_at_1"] for one in selected]),
        "recall_at_1_last": _mean([seen[-1]["test_recall_at_1"] for seen in looks]),
        "recall_at_1_oracle": _mean([max(one["test_recall_at_1"] for one in seen) for seen in looks]),
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
