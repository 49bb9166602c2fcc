from itertools import pairwise

import numpy as np
import pytest

from bench.stats.difference import mean, methods
from bench.stats.sequential import leaders, looks, order, weights


def board(seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.linspace(0.7, 0.5, 8)[:, None] + generator.normal(0, 0.02, (8, 10))


def test_the_usual_looks_and_their_weights() -> None:
    assert looks(10) == (2, 3, 5, 7, 10)
    assert looks(16) == (2, 3, 5, 7, 10, 16)
    assert looks(4) == (2, 3, 4)
    assert weights(5) == pytest.approx((0.10, 0.15, 0.20, 0.25, 0.30))
    assert sum(weights(6)) == pytest.approx(1)
    with pytest.raises(ValueError, match="at least 2"):
        looks(1)


@pytest.mark.parametrize("rule", [leaders, order])
def test_the_same_decisions_after_a_kill_and_without_the_seeds_never_run(rule: type) -> None:
    scores = board(0)
    whole = list(rule(scores))
    sparse = scores.copy()
    for look, following in pairwise(whole):
        sparse[~look.running, look.seeds : following.seeds] = np.nan
    assert np.isnan(sparse).any()
    for upto in (2, 3, 5, 10):
        replayed = list(rule(sparse[:, :upto]))
        for look, again in zip(whole, replayed, strict=False):
            for field, other in zip(look, again, strict=True):
                np.testing.assert_array_equal(field, other)


def test_a_method_drops_out_for_a_better_one_and_never_comes_back() -> None:
    out = np.zeros(8, bool)
    for look in leaders(board(1)):
        assert (look.p[look.dropped] <= look.limit).all()
        assert (board(1)[look.rival[look.dropped]].mean(1) > board(1)[look.dropped].mean(1)).all()
        assert not (look.dropped & out).any()
        out |= look.dropped
        np.testing.assert_array_equal(look.leading, ~out)
        assert not (look.running & out).any()
    assert out.any()
    assert not out[0]


def test_the_last_look_asks_for_nothing() -> None:
    for rule in (leaders, order):
        assert not list(rule(board(2), most=5))[-1].running.any()


def test_separated_pairs_stay_separated() -> None:
    before = np.zeros((8, 8), bool)
    for look in order(board(3)):
        assert not (before & ~look.better).any()
        before = look.better
    assert before.any()


def test_a_batch_of_boards_is_its_boards() -> None:
    boards = np.stack([board(seed) for seed in range(5)])
    last = list(leaders(boards))[-1].leading
    for place, scores in enumerate(boards):
        np.testing.assert_array_equal(list(leaders(scores))[-1].leading, last[place])


def test_a_failed_seed_and_a_method_without_any_decide_nothing() -> None:
    scores = board(4)
    scores[1, 1], scores[2] = np.nan, np.nan
    first = next(leaders(scores))
    assert not first.leading[2]
    assert first.leading[1]
    assert first.running[1]
    assert np.isnan(first.p[1])


def test_one_method_is_no_contest() -> None:
    with pytest.raises(ValueError, match="two methods"):
        next(leaders(np.zeros((1, 3))))


@pytest.mark.parametrize("rule", [leaders, order])
def test_methods_that_share_models_are_compared_seed_by_seed(rule: type) -> None:
    """An ensemble that is always a little better than its member, however much the seed moves both."""
    generator = np.random.default_rng(4)
    common = generator.normal(0, 0.03, 10)
    scores = np.stack([0.6 + common, 0.62 + common + generator.normal(0, 0.004, 10), generator.normal(0.55, 0.03, 10)])
    shared = np.zeros((3, 3), bool)
    shared[0, 1] = shared[1, 0] = True
    looks_apart, looks_paired = list(rule(scores)), list(rule(scores, shared=shared))
    if rule is leaders:
        assert looks_apart[-1].leading[0]
        assert not looks_paired[-1].leading[0]
    else:
        assert not looks_apart[-1].better[1, 0]
        assert looks_paired[-1].better[1, 0]
    np.testing.assert_array_equal(
        list(rule(scores, shared=np.zeros((3, 3), bool)))[-1].running, looks_apart[-1].running
    )


def test_a_shared_pair_has_the_p_value_of_its_gains() -> None:
    generator = np.random.default_rng(5)
    scores = generator.normal(0.5, 0.02, (2, 2))
    scores[1] += 0.03
    (look,) = leaders(scores, shared=~np.eye(2, dtype=bool), most=2)
    assert look.p[0] == mean(methods([scores[1] - scores[0]])).p_above()[0]
    assert look.rival[0] == 1
