"""Seeds that a rule adds look by look: which rule is asked for, what it decides, and what a board says of its rows."""

from typing import Literal, NamedTuple, get_args

import pandas as pd

from bench.matrix.catalogue import did_you_mean, entries
from bench.matrix.job import ConfigError
from bench.store.columns import role

__all__ = ["RULES", "Decision", "Until", "checked", "mark", "stopping_notes"]

Rule = Literal["leaders", "order"]
RULES: tuple[Rule, ...] = get_args(Rule)


class Until(NamedTuple):
    """Until what is decided seeds are added; `bench/stats/sequential.py` has the rules."""

    rule: str
    """leaders: which methods lead; order: the whole order."""
    most: int = 10
    """Seeds that a method gets at most: 0 to this number - 1."""
    alpha: float = 0.05
    """Error rate of all looks together."""
    metric: str = "recall_at_1"
    """The score that decides."""


class Decision(NamedTuple):
    """What a rule decided at one look of one board."""

    seeds: int
    """That were looked at: 0 to this number - 1."""
    leading: tuple[str, ...]
    """Methods that none was shown to be better than."""
    running: tuple[str, ...]
    """Methods that get more seeds; empty when all is decided that can be."""
    sentences: tuple[str, ...]


def checked(until: Until | str) -> Until:
    """The request as a value; a text is the name of a rule.

    Raises:
        ConfigError: there is no such rule or metric, or with these numbers nothing can be decided.
    """
    asked = Until(until) if isinstance(until, str) else until
    if asked.rule not in RULES:
        raise ConfigError(f"--until: there is no rule {asked.rule!r}{did_you_mean(asked.rule, RULES)}")
    if not isinstance(asked.most, int) or asked.most < 2:
        raise ConfigError(f"--max-seeds {asked.most}: fewer than 2 seeds decide nothing; allow 2 or more, such as 10")
    if not 0 < asked.alpha < 1:
        raise ConfigError(f"--alpha {asked.alpha:g}: an error rate lies between 0 and 1; give one such as 0.05")
    if role(asked.metric) != "score":
        names = [f"{name}_1" if "k" in entry.positional else name for name, entry in entries("metrics").items()]
        raise ConfigError(f"--metric: there is no score {asked.metric!r}{did_you_mean(asked.metric, names)}")
    return asked


def mark(until: Until) -> str:
    """What the column `stopping` says of a row that was run by this rule."""
    return f"{until.rule}, alpha {until.alpha:g}, at most {until.most} seeds, by {until.metric}"


def stopping_notes(latest: pd.DataFrame) -> list[str]:
    """How the seeds of a board were chosen, where a rule did it; one note for each.

    Args:
        latest: rows of one board, with the column `stopping`.
    """
    return [
        f"Seeds were added look by look ({rule}). What the rule decided holds at its alpha; the intervals of lines "
        "that it stopped early do not allow for the looks."
        for rule in sorted(latest["stopping"].dropna().unique())
    ]
