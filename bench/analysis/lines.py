"""The lines of a board: what is averaged over seeds, with its interval."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis.settings import flat
from bench.stats.intervals import interval

__all__ = ["LOOKS", "Line", "Score", "lines"]

FIRST = "recall_at_1"
LOOKS = ("validation_recall_at_1", "recall_at_1_selected", "recall_at_1_last", "recall_at_1_oracle")
OF_A_LINE = (
    *("objective", "variant", "kind", "members", "seed", "key", "recipe", "epoch"),
    *("embedding_dim", "seconds", "seconds_train"),
)


class Score(NamedTuple):
    """One metric of one line, in [0, 1]."""

    mean: float
    half_width: float
    """Of the 95 % interval over seeds; NaN for one seed."""
    seeds: int
    """How many seeds have a value."""


class Line(NamedTuple):
    """One cell of a matrix: what is averaged over seeds, and nothing else is."""

    cell: str
    objective: str
    variant: str
    """The recipe fields in which it differs from the board's most common recipe, such as "epochs=0"; mostly empty.

    Behind them, where another line has the same label, the parameters in which these differ."""
    kind: str
    members: tuple[str, ...]
    scores: Mapping[str, Score]
    recalls: Mapping[int, float]
    """Recall@1 of every seed that has one, for paired differences."""
    keys: tuple[str, ...]
    done: int
    seeds: int
    """Seeds asked for; `done` of them gave scores."""
    dim: int | None
    seconds: float
    """Mean seconds to train one seed; for a model ensemble, to fuse the stored embeddings."""
    recipe: Mapping[str, str]
    """Every field of its recipe, as text."""
    looks: Mapping[str, Score]
    """What was seen of it while it learned, by column, in [0, 1]; empty where no class was held out."""
    gap: Score | None
    """Recall@1 at the test's own best epoch less that at the epoch the classes held out select, paired by seed."""
    epochs: tuple[int, ...]
    """The epochs whose weights were evaluated, one per model and seed."""

    @property
    def label(self) -> str:
        """The objective, with its variant in brackets."""
        return f"{self.objective} ({self.variant})" if self.variant else self.objective


def lines(latest: pd.DataFrame, done: pd.DataFrame, metrics: Sequence[str]) -> list[Line]:
    """One line per cell that finished a seed, by Recall@1, best first.

    Args:
        latest: one row per cell and seed, with its `variant`.
        done: those of them that are finished.
        metrics: the scores to be kept.
    """
    asked = latest.groupby("cell")["seed"].count().to_dict()
    ordered = done.sort_values("seed")
    # Plain arrays: a data frame per line would cost more time than everything else together.
    columns = {name: ordered[name].to_numpy() for name in (*OF_A_LINE, *metrics, *LOOKS)}
    found = [
        _line(str(cell), {name: values[rows] for name, values in columns.items()}, asked[cell], metrics)
        for cell, rows in ordered.groupby("cell").indices.items()
    ]
    return sorted(found, key=_standing)


def _line(cell: str, cells: Mapping[str, NDArray[Any]], asked: int, metrics: Sequence[str]) -> Line:
    values = {metric: cells[metric].astype(float) for metric in metrics}
    first = values.get(FIRST, np.full(len(cells["key"]), np.nan))
    dim, trained, whole = cells["embedding_dim"][0], cells["seconds_train"], cells["seconds"]
    return Line(
        cell=cell,
        objective=str(cells["objective"][0]),
        variant=str(cells["variant"][0]),
        kind=str(cells["kind"][0]),
        members=tuple(map(str, cells["members"][0])),
        scores={
            metric: _score(found[~np.isnan(found)]) for metric, found in values.items() if not np.isnan(found).all()
        },
        recalls={
            int(seed): float(value) for seed, value in zip(cells["seed"], first, strict=True) if not np.isnan(value)
        },
        keys=tuple(cells["key"]),
        done=len(cells["key"]),
        seeds=asked,
        dim=None if pd.isna(dim) else int(dim),
        seconds=float(np.mean((whole if pd.isna(trained).any() else trained).astype(float))),
        recipe=flat(json.loads(cells["recipe"][0])),
        looks={name: _score(found) for name in LOOKS if len(found := _known(cells[name]))},
        gap=_score(found) if len(found := _known(cells[LOOKS[-1]] - cells[LOOKS[1]])) else None,
        epochs=tuple(int(epoch) for epochs in cells["epoch"] if np.ndim(epochs) for epoch in epochs),
    )


def _known(values: NDArray[Any]) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = values.astype(float)
    return numbers[~np.isnan(numbers)]


def _score(values: NDArray[np.float64]) -> Score:
    return Score(*interval(values), seeds=len(values))


def _standing(line: Line) -> tuple[float, str]:
    return (-line.scores[FIRST].mean if FIRST in line.scores else float("inf"), line.label)
