import math
from itertools import product

import numpy as np
from support.sample_rows import row, table

from bench.analysis.boards import boards
from bench.analysis.costs import costs, pareto_front


def test_a_model_ensemble_costs_what_its_members_do() -> None:
    rows = [row("a", seed, seconds_train=10.0 + seed, parameters=100) for seed in range(2)]
    rows += [row("b", seed, seconds_train=30.0, parameters=150, embedding_dim=64) for seed in range(2)]
    fused = {"kind": "model_ensemble", "members": ["a", "b"], "embedding_dim": 192, "seconds_train": None}
    rows += [row("both", seed, **fused, parameters=None) for seed in range(2)]
    rows += [row("lost", 0, **fused | {"members": ["a", "gone"]}, parameters=None)]
    rows += [row("pixels", 0, kind="floor")]
    (board,) = boards(table(rows))
    found = {cost.line.label: cost[1:] for cost in costs(board, board.lines)}
    assert found["a"] == (10.5, 100, 4 * 128)
    assert found["b"] == (30, 150, 4 * 64)
    assert found["both"] == (40.5, 250, 4 * 192)
    assert np.isnan(found["lost"][:2]).all()
    assert "pixels" not in found
    (alone,) = costs(board, [line for line in board.lines if line.label == "both"])
    assert alone[1:] == found["both"]


def test_the_front_is_what_no_other_beats() -> None:
    generator = np.random.default_rng(3)
    for size in (1, 2, 30):
        prices, scores = generator.integers(1, 9, size).astype(float), generator.integers(0, 9, size) / 9
        front = pareto_front(prices.tolist(), scores.tolist())
        beaten = {
            at
            for at, other in product(range(size), repeat=2)
            if (prices[other] <= prices[at] and scores[other] > scores[at])
            or (prices[other] < prices[at] and scores[other] >= scores[at])
        }
        assert {(prices[at], scores[at]) for at in front} == {
            (prices[at], scores[at]) for at in range(size) if at not in beaten
        }
        assert front == sorted(front, key=lambda at: prices[at])


def test_what_nothing_is_known_of_is_on_no_front() -> None:
    assert pareto_front([math.nan, 2.0, math.nan], [0.9, 0.1, 0.95]) == [1]
