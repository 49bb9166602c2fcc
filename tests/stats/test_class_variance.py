from types import ModuleType

import numpy as np
import pytest

from bench.stats.class_variance import class_part, class_sums, crossed, gain_part, profiles, same_models
from bench.stats.difference import difference, methods, pairs


def board(generator: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    """Class sums of 2 to 6 methods with 1 to 5 seeds each, and the queries of each class."""
    counts = generator.integers(1, 30, generator.integers(2, 40)).astype(float)
    seeds = generator.integers(1, 6, generator.integers(2, 7))
    return [generator.binomial(counts.astype(int), 0.6, (int(many), len(counts))) * 1.0 for many in seeds], counts


def test_equals_the_specification_on_random_boards(reference: ModuleType) -> None:
    generator = np.random.default_rng(0)
    for _ in range(100):
        tables, counts = board(generator)
        first, second = pairs(len(tables))
        part = class_part(profiles(tables, counts), first, second)
        for at, (a, b) in enumerate(zip(first, second, strict=True)):
            expected = reference.class_part(tables[a], tables[b], counts)
            np.testing.assert_allclose([field[at] for field in part[:3]], expected, rtol=1e-10)


def test_crossed_is_that_of_the_specification(reference: ModuleType) -> None:
    generator = np.random.default_rng(1)
    tables = [generator.binomial(20, share, (3, 30)) * 1.0 for share in (0.6, 0.65, 0.7)]
    counts = np.full(30, 20.0)
    seeds = difference(methods([table.sum(1) / counts.sum() for table in tables]), *pairs(3))
    part = class_part(profiles(tables, counts), *pairs(3))
    found = crossed(seeds, part)
    for at in range(3):
        numbers = (float(field[at]) for field in (seeds.variance, seeds.freedom, *part[:3]))
        expected = reference.crossed(*numbers)
        np.testing.assert_allclose((found.variance[at], found.freedom[at]), expected, rtol=1e-10)


def test_no_order_of_seeds_or_methods_shows_in_any_bit() -> None:
    generator = np.random.default_rng(2)
    tables = [generator.random((4, 50)) for _ in range(5)]
    counts = np.full(50, 3.0)
    plain = class_part(profiles(tables, counts), np.array([0, 1]), np.array([3, 4]))
    moved = [generator.permutation(table) for table in reversed(tables)]
    other = class_part(profiles(moved, counts), np.array([1, 0]), np.array([4, 3]))
    for field, again in zip(plain, other, strict=True):
        np.testing.assert_array_equal(field, again)


def test_a_gain_is_its_seeds_against_nothing() -> None:
    generator = np.random.default_rng(3)
    tables, counts = generator.random((4, 20)), np.full(20, 5.0)
    gain = gain_part(profiles([tables], counts))
    pair = class_part(profiles([tables, np.zeros((1, 20))], counts), np.array([0]), np.array([1]))
    for field, again in zip(gain, pair, strict=True):
        np.testing.assert_array_equal(field, again)


def test_sums_are_those_of_a_loop() -> None:
    generator = np.random.default_rng(4)
    values, classes = generator.random((3, 200)), generator.integers(0, 9, 200)
    sums, counts = class_sums(values, classes, count=10)
    for one in range(10):
        assert counts[one] == (classes == one).sum()
        np.testing.assert_allclose(sums[:, one], values[:, classes == one].sum(axis=1))


def test_one_class_has_no_interval_and_says_why() -> None:
    found = profiles([np.array([[3.0], [4.0]]), np.array([[5.0], [5.0]])], [10])
    part = class_part(found, np.array([0]), np.array([1]))
    both = crossed(difference(methods([[0.3, 0.4], [0.5, 0.5]]), [0], [1]), part)
    assert np.isnan(both.half_width()[0])
    assert "one class" in both.reason[0]
    assert "one class" in same_models(both.mean, part).reason[0]


def test_equal_methods_have_no_class_part() -> None:
    table = np.random.default_rng(5).random((3, 8))
    part = class_part(profiles([table, table], np.full(8, 2.0)), np.array([0]), np.array([1]))
    assert part.variance[0] == 0
    assert part.freedom[0] == 7


def test_refuses_tables_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="3 classes"):
        profiles([np.zeros((2, 4))], [1, 1, 1])
    with pytest.raises(ValueError, match="queries per seed"):
        class_sums(np.zeros((2, 5)), [0, 1])
