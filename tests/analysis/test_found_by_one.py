from collections import Counter

import numpy as np
import pytest

from bench.analysis.found_by_one import Confusion, confusions, examples, found_by_one, worst
from bench.store.queries import Queries

COUNT, CLASSES, WIDTH = 60, 7, 8


def drawn(seed, *, left_out=0.0):
    """Queries with ranks and neighbours that contradict nothing the choice reads."""
    random = np.random.default_rng(seed)
    ranks = random.choice([0, 1, 1, 1, 2, 3, 3, 9], COUNT).astype(np.int32)
    near = random.integers(0, COUNT, (COUNT, WIDTH)).astype(np.int32)
    near[random.random(COUNT) < left_out] = -1
    return Queries(None, ranks, {}, near, None)


def rule(rows, ranks, classes):
    """The rule, step by step: take the deepest of the classes that came least often so far."""
    left, order, came = list(rows), [], Counter()
    while left:
        turn = min(came[classes[row]] for row in left)
        best = min((row for row in left if came[classes[row]] == turn), key=lambda row: (-(ranks[row] or np.inf), row))
        order.append(best)
        came[classes[best]] += 1
        left.remove(best)
    return order


@pytest.fixture
def classes():
    return np.random.default_rng(5).integers(0, CLASSES, COUNT)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("left_out", [0.0, 0.5, 1.0])
def test_what_one_finds_and_the_other_misses_is_counted_whole_and_shown_by_the_rule(seed, left_out, classes):
    one, other = drawn(seed, left_out=left_out), drawn(seed + 100)
    won = [row for row in range(COUNT) if one.first_hit[row] == 1 and other.first_hit[row] != 1]
    shown = [row for row in won if one.neighbours[row][0] >= 0]
    total, rows = found_by_one(one, other, classes)
    assert total == len(won) > 5
    assert rows.tolist() == rule(shown, other.first_hit, classes)
    assert len(shown) < len(won) or not left_out


@pytest.mark.parametrize("left_out", [0.0, 0.5])
def test_the_worst_are_missed_though_there_is_something_to_find(left_out, classes):
    found, findable = drawn(3, left_out=left_out), classes != 2
    missed = [row for row in range(COUNT) if found.first_hit[row] != 1 and classes[row] != 2]
    total, rows = worst(found, classes, findable)
    assert total == len(missed)
    assert rows.tolist() == rule([row for row in missed if found.neighbours[row][0] >= 0], found.first_hit, classes)


@pytest.mark.parametrize("left_out", [0.0, 0.5, 1.0])
def test_confusions_are_counts_of_nearest_neighbours_of_another_class(left_out, classes):
    found, offered = drawn(1, left_out=left_out), np.random.default_rng(6).integers(0, CLASSES, COUNT)
    counts, of = Counter(), Counter()
    for row in range(COUNT):
        if found.neighbours[row][0] >= 0 and classes[row] != 2:
            of[classes[row]] += 1
            counts[classes[row], offered[found.neighbours[row][0]]] += 1
    expected = [Confusion(a, b, n, of[a]) for (a, b), n in counts.items() if a != b]
    expected.sort(key=lambda one: (-one.times, one.asked, one.taken_for))
    assert confusions(found, classes, offered, classes != 2) == expected
    assert bool(expected) == (left_out < 1)


def test_an_example_has_five_neighbours_of_each_method():
    one, other = drawn(1), drawn(2)
    (found,) = examples(np.array([7]), one, other)
    assert found.query == 7
    for strip, method in zip(found.strips, (one, other), strict=True):
        assert strip.first_hit == method.first_hit[7]
        assert list(strip.neighbours) == method.neighbours[7].tolist()[:5]


def test_where_no_neighbours_are_stored_nothing_is_shown(classes):
    one, other = drawn(1)._replace(neighbours=None), drawn(2)
    total, rows = found_by_one(one, other, classes)
    assert total > 0
    assert rows.tolist() == []
    assert confusions(one, classes, classes, classes >= 0) == []
