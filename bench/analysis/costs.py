"""What the methods of a board cost: to train, to hold in memory, and to store the embeddings of a picture."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bench.analysis.boards import Board
from bench.analysis.lines import FIRST, Line

__all__ = ["Cost", "costs", "pareto_front"]

BYTES = 4
"""Of one number of an embedding, float32."""


class Cost(NamedTuple):
    """Of one line; NaN for what its rows do not know."""

    line: Line
    seconds: float
    """To train one seed; of a model ensemble, to train all of its members."""
    parameters: float
    """Trained and frozen numbers of the model and its objective; of a model ensemble, of all members."""
    bytes: float
    """Of the embedding of one picture."""


def costs(board: Board) -> list[Cost]:
    """Of every trained line with Recall@1, in their order; controls count, floors and untrained lines do not."""
    runs = {
        key: (float(_number(line, "seconds_train", at)), float(_number(line, "parameters", at)))
        for line in board.lines
        if not _fused(line)
        for at, key in enumerate(line.keys)
    }
    return [_cost(line, runs) for line in board.lines if FIRST in line.scores and not line.outside]


def _fused(line: Line) -> bool:
    return line.kind == "model_ensemble" or (line.kind == "control" and bool(line.members))


def _number(line: Line, column: str, at: int) -> float:
    value = line.made[column][at]
    return float("nan") if value is None else float(value)


def _cost(line: Line, runs: dict[str, tuple[float, float]]) -> Cost:
    """Over its seeds the mean; of trained models that are not on the board nothing is known."""
    unknown = (float("nan"), float("nan"))
    models = sorted(model.key for model in line.models) if _fused(line) else line.keys
    found = np.array([runs.get(key, unknown) for key in models]).reshape(-1, 2)
    seconds, parameters = found.sum(axis=0) / line.done if len(found) else unknown
    return Cost(line, float(seconds), float(parameters), float("nan") if line.dim is None else float(BYTES * line.dim))


def pareto_front(prices: Sequence[float], scores: Sequence[float]) -> list[int]:
    """The places that no other beats: none is as cheap and scores higher. Cheapest first; NaN has no place."""
    front: list[int] = []
    for at in sorted(range(len(prices)), key=lambda at: (prices[at], -scores[at])):
        if not np.isnan(prices[at]) and (not front or scores[at] > scores[front[-1]]):
            front.append(at)
    return front
