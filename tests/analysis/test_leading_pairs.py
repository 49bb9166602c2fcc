import math
from pathlib import Path

import numpy as np
import pytest
from support.sample_rows import large, row, table
from support.stored_boards import stored_rows, write_rows

from bench.analysis.boards import boards
from bench.analysis.leading_pairs import MOST_LEADING, leading_pairs
from bench.analysis.two_methods import compare


def test_every_pair_is_what_bench_compare_has(tmp_path: Path) -> None:
    rows = [*stored_rows(), row("alone", 0, recall_at_1=0.66)]
    (board,) = compare(results=write_rows(tmp_path / "rows.parquet", rows)).boards
    found = leading_pairs(boards(table(rows))[0])
    assert found is not None
    at = {line.label: place for place, line in enumerate(found.lines)}
    assert found.lines[found.leader].label == "best"
    assert len(board.pairs) == 10
    for pair in board.pairs:
        one, other = at[pair.a], at[pair.b]
        assert found.difference[one, other] == pytest.approx(pair.difference, abs=1e-12)
        assert found.difference[other, one] == -found.difference[one, other]
        low, high = pair.interval
        assert found.half_width[one, other] == pytest.approx((high - low) / 2, nan_ok=True)
        assert found.better[one, other] == (pair.separated and pair.difference > 0)
        assert found.known[one, other] == found.known[other, one] == (not math.isnan(pair.p))


def test_of_a_large_board_the_first_thirty_are_kept() -> None:
    count = MOST_LEADING + 15
    (board,) = boards(large(datasets=1, backbones=1, objectives=count))
    found = leading_pairs(board)
    assert found is not None
    assert (len(found.lines), found.of) == (MOST_LEADING, count)
    means = np.array([line.scores["recall_at_1"].mean for line in found.lines])
    assert found.difference == pytest.approx(np.subtract.outer(means, means) + np.diag([np.nan] * 30), nan_ok=True)


@pytest.mark.parametrize("rows", [[row()], [row("a"), row("b")], [row("a", 0), row("a", 1)]])
def test_where_no_leader_is_known_there_is_nothing(rows: list[dict[str, object]]) -> None:
    assert leading_pairs(boards(table(rows))[0]) is None
