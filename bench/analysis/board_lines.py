"""The lines of a board: what is averaged over seeds, each score with its interval."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis.differing_settings import recipe_fields
from bench.analysis.shrunk_scores import Column, Score, shrunk_scores
from bench.analysis.trained_models import Models, TrainedModel
from bench.stats.estimate import Numbers

__all__ = ["FIRST", "LOOKS", "MADE", "Line", "lines"]

FIRST = "recall_at_1"
LOOKS = ("validation_recall_at_1", "recall_at_1_selected", "recall_at_1_last", "recall_at_1_oracle")
OF_A_LINE = (
    *("objective", "variant", "method", "kind", "members", "seed", "key", "recipe", "epoch"),
    *("embedding_dim", "seconds", "seconds_train"),
)


MADE = (
    *("seconds", "seconds_train", "seconds_evaluate", "images_per_second", "peak_memory_mb", "parameters"),
    *("device", "threads", "python", "torch", "timm", "pytorch_metric_learning", "commit", "dirty", "started"),
    *("stopping", "job"),
)
"""Columns of a run that say what it cost, where it was made, and of what."""


class Line(NamedTuple):
    """One cell of a matrix: what is averaged over seeds, and nothing else is."""

    cell: str
    method: str
    """What it is, whatever the dataset: a hash of the objective where its job is known, and the variant."""
    objective: str
    variant: str
    """The recipe fields in which it differs from the board's most common recipe, such as "epochs=0"; mostly empty.

    Behind them, where another line has the same label, the parameters in which these differ."""
    kind: str
    members: tuple[str, ...]
    scores: Mapping[str, Score]
    values: Mapping[str, Numbers]
    """By metric, that of every run, NaN for none; for a metric that no run has, there is no entry."""
    recalls: Mapping[int, float]
    """Recall@1 of every seed that has one."""
    keys: tuple[str, ...]
    """Of its runs that gave scores."""
    ran: tuple[int, ...]
    """Their seeds."""
    models: frozenset[TrainedModel]
    """The trained models that it is made of."""
    seeds: int
    """Seeds asked for; those of `ran` gave scores."""
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
    made: Mapping[str, NDArray[Any]]
    """By column of MADE, that of every run; of a run that lacks it, None or NaN."""

    @property
    def label(self) -> str:
        """The objective, with its variant in brackets."""
        return f"{self.objective} ({self.variant})" if self.variant else self.objective

    @property
    def done(self) -> int:
        """How many seeds gave scores."""
        return len(self.ran)

    @property
    def at_test_time(self) -> bool:
        """Whether it is one trained model that is only searched in another way: no ensemble, whatever it gains."""
        return self.kind == "model_ensemble" and len(self.members) == 1

    @property
    def outside(self) -> bool:
        """Whether nothing was trained for it: it says nothing about how others vary with the seed."""
        return self.kind == "floor" or self.recipe.get("epochs") == "0"


def lines(latest: pd.DataFrame, done: pd.DataFrame, metrics: Sequence[str], models: Models) -> list[Line]:
    """One line per cell that finished a seed, by Recall@1, best first.

    Args:
        latest: one row per cell and seed, with its `variant` and `method`.
        done: those of them that are finished.
        metrics: the scores to be kept.
        models: the trained models behind each row, by its key.
    """
    asked = latest.groupby("cell")["seed"].count().to_dict()
    ordered = done.sort_values("seed")
    # Plain arrays: a data frame per line would cost more time than everything else together.
    columns = {name: ordered[name].to_numpy() for name in dict.fromkeys((*OF_A_LINE, *metrics, *LOOKS, *MADE))}
    found = [
        _line(str(cell), {name: values[rows] for name, values in columns.items()}, asked[cell], metrics)
        for cell, rows in ordered.groupby("cell").indices.items()
    ]
    made = [line._replace(models=frozenset(model for key in line.keys for model in models[key])) for line in found]
    return sorted(_with_scores(made, metrics), key=_standing)


def _line(cell: str, cells: Mapping[str, NDArray[Any]], asked: int, metrics: Sequence[str]) -> Line:
    values = {name: cells[name].astype(float) for name in (*metrics, *LOOKS)}
    dim, trained, whole = cells["embedding_dim"][0], cells["seconds_train"], cells["seconds"]
    ran = tuple(map(int, cells["seed"]))
    firsts = zip(ran, map(float, values.get(FIRST, ())), strict=False)
    return Line(
        cell=cell,
        method=str(cells["method"][0]),
        objective=str(cells["objective"][0]),
        variant=str(cells["variant"][0]),
        kind=str(cells["kind"][0]),
        members=tuple(map(str, cells["members"][0])),
        scores={},
        values={name: found for name, found in values.items() if not np.isnan(found).all()},
        recalls={seed: value for seed, value in firsts if not np.isnan(value)},
        keys=tuple(cells["key"]),
        ran=ran,
        models=frozenset(),
        seeds=asked,
        dim=None if pd.isna(dim) else int(dim),
        seconds=float(np.mean((whole if pd.isna(trained).any() else trained).astype(float))),
        recipe=recipe_fields(str(cells["recipe"][0])),
        looks={},
        gap=None,
        epochs=tuple(int(epoch) for epochs in cells["epoch"] if np.ndim(epochs) for epoch in epochs),
        made={name: cells[name] for name in MADE},
    )


def _with_scores(found: Sequence[Line], metrics: Sequence[str]) -> list[Line]:
    """The lines with what all of them are needed for: every score's interval."""
    columns = {name: shrunk_scores([_of(line, line.values.get(name)) for line in found]) for name in (*metrics, *LOOKS)}
    gaps = shrunk_scores([_of(line, _gap(line)) for line in found])
    return [
        line._replace(
            scores={name: score for name in metrics if (score := columns[name][place])},
            looks={name: score for name in LOOKS if (score := columns[name][place])},
            gap=gaps[place],
        )
        for place, line in enumerate(found)
    ]


def _of(line: Line, values: Numbers | None) -> Column:
    return Column(values, outside=line.outside, control=line.kind == "control")


def _gap(line: Line) -> Numbers | None:
    best, selected = line.values.get(LOOKS[-1]), line.values.get(LOOKS[1])
    return None if best is None or selected is None else best - selected


def _standing(line: Line) -> tuple[float, str]:
    return (-line.scores[FIRST].mean if FIRST in line.scores else float("inf"), line.label)
