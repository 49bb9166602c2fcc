"""What the methods of a board cost: to train, to hold in memory, and to store the embeddings of a picture."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from bench.analysis.board_lines import FIRST, Line
from bench.analysis.boards import Board

__all__ = ["Cost", "costs", "pareto_front"]

BYTES = 4
"""Of one number of an embedding, float32."""
UNKNOWN = (float("nan"), float("nan"))


class Cost(NamedTuple):
    """Of one line; NaN for what its rows do not know."""

    line: Line
    seconds: float
    """To train one seed; of a model ensemble, to train all of its members."""
    parameters: float
    """Trained and frozen numbers of the model and its objective; of a model ensemble, of all members."""
    bytes: float
    """Of the embedding of one picture."""


def costs(board: Board, lines: Sequence[Line]) -> list[Cost]:
    """Of those of some lines of a board that are trained and have Recall@1, controls too, in their order."""
    trained = [line for line in lines if FIRST in line.scores and not line.outside]
    models = {line.cell: _models(line) for line in trained}
    wanted = {key for keys in models.values() for key in keys}
    runs = {
        key: (_number(line, "seconds_train", at), _number(line, "parameters", at))
        for line in board.lines
        if not _fused(line) and not wanted.isdisjoint(line.keys)
        for at, key in enumerate(line.keys)
    }
    return [_cost(line, [runs.get(key, UNKNOWN) for key in models[line.cell]]) for line in trained]


def _fused(line: Line) -> bool:
    return line.kind == "model_ensemble" or (line.kind == "control" and bool(line.members))


def _models(line: Line) -> list[str]:
    """The keys of the jobs that trained something for it."""
    return sorted(model.key for model in line.models) if _fused(line) else list(line.keys)


def _number(line: Line, column: str, at: int) -> float:
    value = line.made[column][at]
    return float("nan") if value is None else float(value)


def _cost(line: Line, runs: Sequence[tuple[float, float]]) -> Cost:
    """Over its seeds the mean; of trained models that are not on the board nothing is known."""
    seconds, parameters = (sum(column) / line.done for column in zip(*runs, strict=True)) if runs else UNKNOWN
    return Cost(line, seconds, parameters, float("nan") if line.dim is None else float(BYTES * line.dim))


def pareto_front(prices: Sequence[float], scores: Sequence[float]) -> list[int]:
    """The places that no other beats: none is as cheap and scores higher. Cheapest first; NaN has no place."""
    front: list[int] = []
    for at in sorted(range(len(prices)), key=lambda at: (prices[at], -scores[at])):
        if not math.isnan(prices[at]) and (not front or scores[at] > scores[front[-1]]):
            front.append(at)
    return front
