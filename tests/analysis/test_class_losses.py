from pathlib import Path

import numpy as np
import pytest
from support.stored_boards import write_classes

import bench
from bench.analysis.boards import boards
from bench.analysis.class_losses import AGAINST, class_losses, stored_classes

SHARES = {
    "best": [(0.9, 0.8, 0.7), (0.9, 0.7, 0.9)],
    "other": [(0.5, 0.8, 0.9), (0.6, 0.7, 0.95)],
    "weak": [(0.1, 0.2, 0.1), (0.2, 0.1, 0.1)],
}


def test_classes_are_held_against_the_leader(tmp_path: Path) -> None:
    write_classes(tmp_path, SHARES)
    (board,) = boards(bench.load(tmp_path))
    other, weak = class_losses(board, stored_classes([board], tmp_path))
    assert (other.line.label, other.lost, other.won) == ("other", 1, 1)
    assert other.differences == pytest.approx([-0.35, 0, 0.125])
    assert (weak.line.label, weak.lost, weak.won) == ("weak", 3, 0)
    assert weak.differences == pytest.approx(np.mean(SHARES["weak"], 0) - np.mean(SHARES["best"], 0))


def test_few_methods_are_held_against_it(tmp_path: Path) -> None:
    shares = {f"loss {at}": [(0.9 - at / 20, 0.8), (0.85 - at / 20, 0.8)] for at in range(AGAINST + 4)}
    write_classes(tmp_path, shares)
    (board,) = boards(bench.load(tmp_path))
    found = class_losses(board, stored_classes([board], tmp_path))
    assert [one.line.label for one in found] == [f"loss {at}" for at in range(1, AGAINST + 1)]


def test_without_queries_there_is_nothing(tmp_path: Path) -> None:
    write_classes(tmp_path, SHARES)
    for file in tmp_path.glob("*/queries.parquet"):
        file.unlink()
    (board,) = boards(bench.load(tmp_path))
    assert stored_classes([board], tmp_path) == {}
    assert class_losses(board, {}) == []
