from itertools import combinations
from types import ModuleType

import numpy as np
import pytest

from bench.stats.difference import difference, methods, pairs
from bench.stats.ranks import holm, leading, letters, rank_sets, separated, tie_groups


def random_better(generator: np.random.Generator, count: int) -> np.ndarray:
    """Separated pairs of methods in a random order of their worth."""
    worth = generator.normal(size=count)
    return (worth[:, None] > worth) & np.triu(generator.random((count, count)) < 0.5, 1) | False


def test_holm_is_that_of_the_specification(reference: ModuleType) -> None:
    generator = np.random.default_rng(0)
    p = generator.random((50, 12)) ** 3
    np.testing.assert_allclose(holm(p), [reference.holm(row) for row in p], rtol=1e-14)


def test_what_is_no_test_does_not_count() -> None:
    found = holm([0.01, np.nan, 0.04, 0.02])
    assert np.isnan(found[1])
    np.testing.assert_allclose(found[[0, 2, 3]], holm([0.01, 0.04, 0.02]))


def test_rank_sets_are_those_of_the_specification(reference: ModuleType) -> None:
    better = random_better(np.random.default_rng(1), 9)
    for found, expected in zip(rank_sets(better), reference.ranks(better), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_tie_groups_are_the_maximal_sets_by_brute_force(reference: ModuleType) -> None:
    generator = np.random.default_rng(2)
    for count in (1, 2, 3, 6, 8):
        for _ in range(20):
            better = random_better(generator, count)
            same = ~(better | better.T)
            sets = [set(group) for size in range(1, count + 1) for group in combinations(range(count), size)]
            tied = [group for group in sets if all(same[a, b] for a, b in combinations(group, 2))]
            maximal = sorted(sorted(group) for group in tied if not any(group < other for other in tied))
            assert tie_groups(better) == [tuple(group) for group in maximal]
            assert [list(group) for group in tie_groups(better)] == reference.cliques(same)


def test_groups_follow_the_order_of_the_methods() -> None:
    better = np.zeros((3, 3), bool)
    better[2, 0] = True
    groups = tie_groups(better, order=[2, 1, 0])
    assert groups == [(2, 1), (1, 0)]
    assert letters(groups, 3) == ["b", "ab", "a"]


def test_letters_go_on_after_z() -> None:
    found = letters([(place,) for place in range(28)], 28)
    assert (found[0], found[25], found[26], found[27]) == ("a", "z", "aa", "ab")


def test_leaders_are_never_separated_from_one_another() -> None:
    generator = np.random.default_rng(3)
    for _ in range(100):
        better = random_better(generator, 7)
        first = np.flatnonzero(leading(better))
        assert len(first)
        assert not better[np.ix_(first, first)].any()


def test_separated_says_who_is_above() -> None:
    better = separated([0.01, 0.2, 0.01], [1.0, 1.0, -1.0], at=pairs(3))
    assert np.argwhere(better).tolist() == [[0, 1], [2, 1]]


@pytest.mark.parametrize("count", [2, 300])
def test_boards_of_any_size(count: int) -> None:
    generator = np.random.default_rng(4)
    scores = generator.normal(0.6, 0.05, (count, 1)) + generator.normal(0, 0.01, (count, 5))
    found = difference(methods(scores), *pairs(count))
    better = separated(holm(found.p_two_sided()), found.mean, at=pairs(count))
    groups = tie_groups(better, order=np.argsort(-scores.mean(axis=1)).tolist())
    assert set().union(*groups) == set(range(count))
    assert all(letters(groups, count))
