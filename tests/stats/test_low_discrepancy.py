import numpy as np
import pytest

from bench.stats.low_discrepancy import sobol


@pytest.mark.parametrize("dimensions", [1, 3, 5])
def test_more_points_begin_with_the_same_ones(dimensions):
    many = sobol(24, dimensions, seed=1000)
    assert many.shape == (24, dimensions)
    for count in (1, 2, 7, 12, 16):
        assert (sobol(count, dimensions, seed=1000) == many[:count]).all()


def test_every_sixteenth_of_every_axis_has_one_of_sixteen_points():
    points = sobol(16, 4, seed=7)
    assert ((points >= 0) & (points < 1)).all()
    for axis in np.floor(16 * points).T:
        assert sorted(axis) == list(range(16))


def test_another_seed_gives_other_points():
    assert not np.isclose(sobol(8, 2, seed=0), sobol(8, 2, seed=1)).any()
