"""What a search of hyper-parameters tries for one objective: its learning rates, and what the loss's paper tunes."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from bench.matrix.catalogue import find
from bench.matrix.job import TRAINED, Job, Part

__all__ = ["FACTOR", "RATES", "Range", "ranges", "trial"]

RATES = ("trunk_rate", "head_rate", "loss_rate")
"""Learning rates of the recipe: of the trunk, of the head, and of what a loss itself trains."""

FACTOR = 10.0
"""Each learning rate is searched from the matrix's own divided by this to the same multiplied by it."""
DIGITS = 3
"""Significant digits of the values that are tried: what is written to a matrix is what was tried."""


class Range(NamedTuple):
    """The values of one hyper-parameter that are tried."""

    name: str
    low: float
    high: float
    log: bool
    """Evenly in the logarithm."""
    whole: bool = False
    rate: bool = False
    """A field of the recipe, not a parameter of the objective."""

    def at(self, share: float) -> float:
        """The value at this share of the range, 0 to 1."""
        if self.log:
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        if self.whole:
            return min(int(self.high), max(int(self.low), round(value)))
        return min(self.high, max(self.low, _rounded(value)))


def ranges(job: Job) -> tuple[Range, ...]:
    """All that is searched for the objective of a job: first the rates of what it trains, then its parameters.

    A rate is around the job's own, since a pretrained trunk needs others than one from random weights; a rate of 0
    stays 0. The members of an ensemble keep their parameters. None for what is not trained.
    """
    if job.kind not in TRAINED or job.kind == "student" or not job.recipe.epochs:
        return ()
    part = job.objective
    own = find("ensembles" if part.members else "losses", part.name).parameters.values()
    found = [(one.name, one.tuned, one.whole) for one in own]
    tuned = [Range(name, *bounds, whole=whole) for name, bounds, whole in found if bounds]
    return (*(_rate(name, getattr(job.recipe, name)) for name in _rates(job)), *tuned)


def _rate(name: str, own: float) -> Range:
    return Range(name, _rounded(own / FACTOR), _rounded(own * FACTOR), log=True, rate=True)


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _rates(job: Job) -> list[str]:
    """The learning rates of what a job trains."""
    backbone = job.backbone.parameters
    trained = (
        not backbone.get("frozen", False),
        backbone.get("head") != "none" or bool(job.objective.members),  # members may bring heads
        _learns(job.objective),
    )
    return [name for name, trains in zip(RATES, trained, strict=True) if trains and getattr(job.recipe, name) > 0]


def _learns(part: Part) -> bool:
    """Whether an objective, or a member of it, trains something of its own."""
    return bool(find("ensembles" if part.members else "losses", part.name).trains) or any(map(_learns, part.members))


def trial(job: Job, number: int, point: Sequence[float]) -> Job:
    """A trial of a job at a point of the unit cube, one share for each of its `ranges`.

    Trial 0 keeps the matrix's own setting, whatever the point.
    """
    spaces = ranges(job)
    values = {space: space.at(share) for space, share in zip(spaces, point, strict=True)} if number else {}
    rates: dict[str, Any] = {space.name: value for space, value in values.items() if space.rate}
    settings = {space.name: value for space, value in values.items() if not space.rate}
    part = job.objective
    update = {"parameters": part.parameters | settings, "label": f"{part.label}, trial {number}"}
    return job.changed(objective=part.model_copy(update=update), recipe=job.recipe.model_copy(update=rates))
