import math

import numpy as np
import pytest
from scipy import stats as oracle

from bench.stats.intervals import half_width, interval


@pytest.mark.parametrize("count", [2, 3, 5, 30])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_interval_is_that_of_scipy(count: int, level: float) -> None:
    values = np.random.default_rng(count).normal(0.6, 0.02, count)
    low, high = oracle.t.interval(level, df=count - 1, loc=values.mean(), scale=oracle.sem(values))
    mean, width = interval(values, level=level)
    assert (mean - width, mean + width) == pytest.approx((low, high))


def test_interval_by_hand() -> None:
    # Three values one apart: sd 1, standard error 1 / sqrt(3), t(0.975, 2) = 4.302653 from the printed table.
    assert interval([1, 2, 3]) == pytest.approx((2, 4.302653 / math.sqrt(3)), rel=1e-6)


def test_one_value_has_no_interval() -> None:
    mean, width = interval([0.25])
    assert mean == 0.25
    assert math.isnan(width)


def test_equal_values_have_an_interval_of_zero() -> None:
    assert interval([0.5, 0.5, 0.5]) == (0.5, 0.0)


@pytest.mark.parametrize("values", [[], [0.1, math.nan], [math.inf], [[0.1, 0.2]], 0.5])
def test_interval_refuses_what_has_no_mean(values: object) -> None:
    with pytest.raises(ValueError, match="interval"):
        interval(values)  # type: ignore[arg-type]


@pytest.mark.parametrize("level", [0, 1, 95])
def test_level_is_a_share(level: float) -> None:
    with pytest.raises(ValueError, match=r"such as 0\.95"):
        interval([1, 2], level=level)


def test_half_width_is_elementwise() -> None:
    widths = half_width([0.1, 0.1, 0.2], [1, 2, 3])
    assert math.isnan(widths[0])
    assert widths[1:] == pytest.approx([interval([0, 0.1 * math.sqrt(2)]).half_width, 0.2 * 4.302653 / math.sqrt(3)])
