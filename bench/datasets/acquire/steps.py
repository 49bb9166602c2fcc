"""What the long steps of getting a dataset are measured in."""

from typing import NamedTuple

__all__ = ["MEGABYTES", "NODES", "PICTURES", "Unit"]


class Unit(NamedTuple):
    """What a step is measured in, and how amounts of it are written."""

    name: str
    size: float
    form: str


MEGABYTES = Unit("MB", 1e6, ",.1f")
PICTURES = Unit("pictures", 1, ",.0f")
NODES = Unit("nodes", 1, ",.0f")
