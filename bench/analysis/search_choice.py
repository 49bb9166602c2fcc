"""Which trial of a search is best: by held-out training classes, once all trials have ended; the test is not asked."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.matrix.job import Job
from bench.matrix.search_space import Range, ranges
from bench.store.columns import SELECTS

__all__ = ["Choice", "choose"]


class Choice(NamedTuple):
    """What a search found for one objective on one dataset and backbone."""

    job: Job
    """As the matrix has it."""
    trials: tuple[Job, ...]
    """In the order in which they count; none where there is nothing to search."""
    scores: tuple[float, ...]
    """Of each trial the MAP@R of held-out training classes; NaN for one that failed or diverged."""
    best: int | None
    """Number of the best trial, of equal ones the first; None where no trial has a score."""
    reason: str = ""
    """Why no trial has a score."""
    skipped: bool = False
    """Whether the objective cannot run here at all, so that there is nothing to choose."""

    @property
    def label(self) -> str:
        """The objective."""
        return self.job.objective.label

    @property
    def values(self) -> tuple[tuple[Range, float], ...]:
        """What was searched, with the values of the best trial."""
        if self.best is None:
            return ()
        found = self.trials[self.best]
        rates, parameters = found.recipe.model_dump(), found.objective.parameters
        return tuple((space, (rates if space.rate else parameters)[space.name]) for space in ranges(self.job))


def choose(job: Job, trials: Sequence[Job], rows: pd.DataFrame) -> Choice:
    """The best of the trials of a job.

    Args:
        job: as the matrix has it.
        trials: all of them; each has its row.
        rows: as `store.load` gives them.
    """
    own = rows.drop_duplicates("key").set_index("key").reindex([one.key for one in trials])
    if SELECTS not in own:
        own[SELECTS] = math.nan
    scores = own[SELECTS].where(own["status"] == "done").astype(float).to_numpy()
    if len(scores) and not np.isnan(scores).all():
        return Choice(job, tuple(trials), tuple(scores.tolist()), int(np.nanargmax(scores)))
    reasons = own["reason"].dropna()
    skipped = bool(len(trials)) and bool((own["status"] == "skipped").all())
    said = str(reasons.iloc[0]).rstrip(".") if len(reasons) else ""
    return Choice(job, tuple(trials), tuple(scores.tolist()), None, said, skipped)
