import numpy as np
import pytest

from bench.stats.across_datasets import across
from bench.stats.estimate import Estimate
from bench.stats.intervals import interval


def estimates(mean: list[float], variance: list[float], freedom: list[float]) -> Estimate:
    reason = np.array(["" if value == value else "one seed" for value in variance], dtype=object)
    return Estimate(np.array(mean), np.array(variance), np.array(freedom), reason)


def test_counts_and_the_mean_over_these_data_sets() -> None:
    found = across(estimates([0.03, 0.01, -0.02], [1e-4, 4e-4, 1e-4], [5, 6, 7]), [0.01, 0.5, 0.04])
    assert (found.better, found.tied, found.worse) == (1, 1, 1)
    assert found.here.mean == pytest.approx(0.02 / 3)
    assert found.here.variance == pytest.approx(6e-4 / 9)
    assert found.here.freedom == pytest.approx(36 / (1 / 5 + 16 / 6 + 1 / 7))
    assert found.new == pytest.approx(interval([0.03, 0.01, -0.02]))


def test_a_data_set_without_an_interval_is_tied_and_named() -> None:
    found = across(estimates([0.03, 0.01], [1e-4, np.nan], [5, np.nan]), [0.01, np.nan])
    assert (found.better, found.tied, found.worse) == (1, 1, 0)
    assert np.isnan(found.here.half_width())
    assert found.here.reason.item() == "one seed"


def test_one_p_per_data_set() -> None:
    with pytest.raises(ValueError, match="per data set"):
        across(estimates([0.1, 0.2], [1, 1], [3, 3]), [0.1])
