import math

import numpy as np
import pytest
from support import shrunk_variances as oracle

from bench.analysis.shrunk_scores import Column, shrunk_scores

BOARD = ((0.60, 0.62, 0.67), (0.70, 0.71, 0.72), (0.2, 0.5, 0.3))


def column(*values: float, outside: bool = False, control: bool = False) -> Column:
    return Column(np.array(values), outside=outside, control=control)


def test_intervals_are_shrunk_over_the_board() -> None:
    expected = [oracle.interval(0, variance / 3, freedom)[1] for variance, freedom in oracle.shrunk(BOARD)]
    found = shrunk_scores([column(*values) for values in BOARD])
    assert [score and score.half_width for score in found] == pytest.approx(expected)


def test_a_control_changes_no_interval_and_has_one() -> None:
    alone = shrunk_scores([column(*values) for values in BOARD])
    *ranked, control = shrunk_scores([*(column(*values) for values in BOARD), column(0.1, 0.9, 0.5, control=True)])
    assert ranked == alone
    assert control is not None
    assert control.half_width > 0


def test_floors_keep_their_own_variance() -> None:
    *ranked, floor = shrunk_scores([*(column(*values) for values in BOARD), column(0.3, 0.3, 0.3, outside=True)])
    assert ranked == shrunk_scores([column(*values) for values in BOARD])
    assert floor is not None
    assert (floor.half_width, floor.sd) == (0, 0)


def test_missing_values_are_left_out_and_one_seed_has_no_interval() -> None:
    single, none, few = shrunk_scores([column(0.5), Column(None, outside=False, control=False), column(0.4, math.nan)])
    assert none is None
    assert single is not None
    assert few is not None
    assert (single.mean, single.seeds, few.mean, few.seeds) == (0.5, 1, 0.4, 1)
    assert math.isnan(single.half_width)
    assert math.isnan(few.sd)
