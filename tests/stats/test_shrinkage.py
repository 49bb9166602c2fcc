from types import ModuleType

import numpy as np
import pytest

from bench.stats.shrinkage import shrink


def test_shrinks_as_the_specification_does(reference: ModuleType) -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        count = int(generator.integers(4, 40))
        freedom = generator.integers(0, 10, count).astype(float)
        freedom[:3] = np.maximum(freedom[:3], 1)
        variances = np.where(freedom > 0, generator.chisquare(np.maximum(freedom, 1)) * 1e-4, 0)
        found, (oracle, degrees) = shrink(variances, freedom), reference.shrink(variances, freedom)
        np.testing.assert_allclose(found.variance, oracle, rtol=1e-10)
        np.testing.assert_allclose(found.freedom, degrees, rtol=1e-10)
        assert not any(found.reason)


def test_a_batch_of_boards_is_its_boards() -> None:
    variances = np.random.default_rng(1).chisquare(3, (5, 2, 7))
    whole = shrink(variances, np.full(7, 3.0))
    for place in np.ndindex(5, 2):
        np.testing.assert_array_equal(whole.variance[place], shrink(variances[place], np.full(7, 3.0)).variance)


def test_an_improbably_noisy_method_is_not_pulled_down() -> None:
    found = shrink([1, 1.1, 0.9, 1.2, 40], np.full(5, 4.0))
    assert found.variance[4] == 40
    assert found.variance[0] < 2


def test_floors_neither_make_the_prior_nor_follow_it() -> None:
    with_floors = shrink([1, 2, 3, 500, 0, 0], [4, 4, 4, 4, 4, 0], outside=[False] * 3 + [True] * 3)
    np.testing.assert_array_equal(with_floors.variance[:3], shrink([1, 2, 3], [4, 4, 4]).variance)
    assert with_floors.variance[3:5].tolist() == [500, 0]
    assert with_floors.freedom[3:5].tolist() == [4, np.inf]
    assert "second seed" in with_floors.reason[5]


def test_identical_seeds_do_not_drag_the_others_down() -> None:
    usual = shrink([1, 2, 3], [2, 2, 2])
    found = shrink([1, 2, 3, 0], [2, 2, 2, 2])
    np.testing.assert_allclose(found.variance[:3], usual.variance)
    assert 0 < found.variance[3] < usual.variance.min()


@pytest.mark.parametrize(
    ("variances", "freedom", "sentence"),
    [
        ([1, 1, 0], [2, 2, 0], "fewer than 3 other methods"),
        ([0, 0, 0], [2, 2, 2], "no method of the board varies"),
        ([1, 1, 1, 0], [2, 2, 2, -1], "no seed of it has a score"),
    ],
)
def test_what_has_no_variance_says_why(variances: list[float], freedom: list[float], sentence: str) -> None:
    found = shrink(variances, freedom)
    assert np.isnan(found.variance[-1])
    assert sentence in found.reason[-1]


@pytest.mark.parametrize(("variances", "freedom"), [(1.0, 2.0), ([-1.0, 1.0], [2, 2])])
def test_refuses_what_is_no_board(variances: object, freedom: object) -> None:
    with pytest.raises(ValueError, match="variance"):
        shrink(variances, freedom)  # type: ignore[arg-type]
