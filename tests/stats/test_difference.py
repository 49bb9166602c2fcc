from types import ModuleType

import numpy as np
import pytest

from bench.stats.difference import difference, mean, methods, pairs
from bench.stats.estimate import say


def board(generator: np.random.Generator) -> np.ndarray:
    """A random board [m, S] whose methods have 2 to S seeds."""
    count, seeds = generator.integers(2, 12), generator.integers(2, 11)
    scores = generator.normal(0.6, 0.02, (count, seeds))
    scores[np.arange(seeds) >= generator.integers(2, seeds + 1, (count, 1))] = np.nan
    return scores


def test_equals_the_specification_on_random_boards(reference: ModuleType) -> None:
    generator = np.random.default_rng(0)
    for _ in range(100):
        scores = board(generator)
        count = np.isfinite(scores).sum(1)
        variances, freedom = reference.shrink(np.nanvar(scores, axis=1, ddof=1), count - 1.0)
        first, second = pairs(len(scores))
        found = difference(methods(scores), first, second)
        for at, (a, b) in enumerate(zip(first, second, strict=True)):
            v, f = reference.seed_part(variances[a], freedom[a], count[a], variances[b], freedom[b], count[b])
            d = np.nanmean(scores[a]) - np.nanmean(scores[b])
            expected = d, reference.half(v, f), reference.pvalue(d, v, f)
            here = found.mean[at], found.half_width()[at], found.p_two_sided()[at]
            np.testing.assert_allclose(here, expected, rtol=1e-10, atol=1e-14)


def test_no_order_of_rows_shows_in_any_bit() -> None:
    generator = np.random.default_rng(1)
    for _ in range(50):
        scores = board(generator)
        moved = generator.permutation(len(scores))
        plain, other = methods(scores), methods(generator.permuted(scores[moved], axis=1))
        for field, again in zip(plain, other, strict=True):
            np.testing.assert_array_equal(field[moved], again)


def test_a_method_against_itself_is_0_and_sides_only_turn_the_sign() -> None:
    found = methods(np.random.default_rng(2).random((4, 3)))
    assert difference(found, [0, 1], [0, 1]).mean.tolist() == [0, 0]
    assert difference(found, [0], [0]).p_two_sided().tolist() == [1]
    one, other = difference(found, [0], [3]), difference(found, [3], [0])
    assert one.mean == -other.mean
    assert one[1:] == other[1:]
    assert one.p_above() + other.p_above() == pytest.approx(1)


def test_seeds_that_only_one_side_has_count() -> None:
    scores = np.random.default_rng(3).normal(0.6, 0.02, (5, 10))
    scores[1, 3:] = np.nan
    narrow = difference(methods(scores), [0], [1])
    scores[0, 3:] = np.nan
    assert narrow.half_width() < difference(methods(scores), [0], [1]).half_width()


def test_a_seed_without_a_score_is_left_out() -> None:
    scores = np.random.default_rng(4).random((3, 4))
    gap = np.insert(scores, 2, np.nan, axis=1)
    for field, again in zip(methods(scores), methods(gap), strict=True):
        np.testing.assert_array_equal(field, again)


def test_own_intervals_are_shrunk_too() -> None:
    found = methods([[0.5, 0.52, 0.54], [0.6, 0.6, 0.61], [0.7, 0.71, 0.74]])
    np.testing.assert_allclose(mean(found).variance, found.variance / 3)
    assert (mean(found).freedom == 5).all()


def test_one_seed_borrows_its_variance_from_three_others() -> None:
    scores = np.random.default_rng(5).normal(0.6, 0.02, (4, 3))
    scores[0, 1:] = np.nan
    lent, alone = difference(methods(scores), [0], [1]), difference(methods(scores[:3]), [0], [1])
    assert np.isfinite(lent.half_width())
    assert np.isnan(alone.half_width())
    assert "one seed" in alone.reason[0]


def test_two_floors_differ_exactly_without_a_test() -> None:
    found = difference(methods([[0.5, 0.5], [0.4, 0.4], [0.6, 0.7]], outside=[True, True, False]), [0, 0], [1, 2])
    assert found.mean[0] == pytest.approx(0.1)
    assert np.isnan(found.p_two_sided()[0])
    assert "exact" in found.reason[0]
    assert np.isfinite(found.p_two_sided()[1])


@pytest.mark.parametrize("scores", [[0.5, 0.6], np.zeros((0, 3)), np.zeros((3, 0)), [[0.5, np.inf]]])
def test_refuses_what_are_no_scores(scores: object) -> None:
    with pytest.raises(ValueError, match="score"):
        methods(scores)  # type: ignore[arg-type]


def test_a_level_is_a_share() -> None:
    with pytest.raises(ValueError, match=r"such as 0\.95"):
        mean(methods([[0.5, 0.6], [0.5, 0.7]])).half_width(level=95)


def test_the_first_case_speaks() -> None:
    found = say([(np.array([True, False, False]), "a"), (np.array([True, True, False]), "b")], like=np.zeros(3))
    assert found.tolist() == ["a", "b", ""]
