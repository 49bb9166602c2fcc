import numpy as np
import pytest

from bench.stats.regression_gate import ALPHA, CANNOT_TELL, NO_WORSE, SAME_BITS, SAME_ORDER, WEIGHTS, WORSE, gate


def runs(seed: int, before: int = 10, fresh: int = 3, sd: float = 0.005) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return 0.7 + generator.normal(0, sd, (6, before)), 0.7 + generator.normal(0, sd, (6, fresh))


def test_each_verdict() -> None:
    baseline, fresh = runs(0)
    fresh[0] -= 0.2
    bits, ranks = np.arange(6) == 1, np.arange(6) == 2
    found = gate(baseline, fresh, same_bits=bits, same_order=ranks)
    assert found.verdict.tolist() == [WORSE, SAME_BITS, SAME_ORDER, NO_WORSE, NO_WORSE, NO_WORSE, WORSE]
    assert found.drop[1] == 0
    assert np.isnan(found.p[[1, 2]]).all()
    loud = gate(*runs(1, sd=0.05))
    assert set(loud.verdict) == {CANNOT_TELL}
    assert (loud.seen > 0.02).all()


def test_nothing_changed_at_all() -> None:
    assert set(gate(*runs(0), same_bits=True).verdict) == {SAME_BITS}
    assert gate(*runs(0), same_bits=np.arange(6) > 0, same_order=True).verdict[-1] == SAME_ORDER


def test_what_did_not_change_leaves_the_family() -> None:
    baseline, fresh = runs(2)
    fresh[0] -= 0.012
    alone = gate(baseline, fresh, same_bits=np.arange(6) > 0)
    assert alone.p[0] < gate(baseline, fresh).p[0]
    assert alone.drop[-1] == pytest.approx(alone.drop[0] / 6)


def test_one_fresh_seed_is_never_worse() -> None:
    baseline, fresh = runs(3, fresh=1)
    found = gate(baseline, fresh - 0.3)
    assert WORSE not in found.verdict
    assert "one seed" in found.reason[0]


def test_a_small_drop_is_not_worse_however_sure() -> None:
    baseline, fresh = runs(4, sd=1e-5)
    found = gate(baseline, fresh - 0.002)
    assert found.p.max() < ALPHA
    assert set(found.verdict) == {NO_WORSE}


def test_an_early_look_needs_a_smaller_p() -> None:
    baseline, fresh = runs(5)
    looks = [gate(baseline, fresh - 0.02, weight=weight) for weight in WEIGHTS]
    assert [(look.verdict == WORSE).sum() for look in looks] == sorted((look.verdict == WORSE).sum() for look in looks)
    assert sum(WEIGHTS) == pytest.approx(1)
    assert (looks[0].seen > looks[2].seen).all()


def test_the_same_seeds_are_paired_only_where_that_is_clearly_closer() -> None:
    baseline, other = runs(6, before=3)
    close = baseline + np.random.default_rng(7).normal(0, 0.0005, baseline.shape)
    seeds = ([0, 1, 2], [0, 1, 2])
    paired = gate(baseline, close, shared=seeds)
    assert paired.paired
    np.testing.assert_allclose(paired.drop[:-1], (baseline - close).mean(axis=1))
    assert not gate(baseline, close).paired
    assert paired.seen[0] < gate(baseline, close).seen[0]
    assert not gate(baseline, other + np.linspace(0, 0.1, 3), shared=seeds).paired


def test_what_methods_share_by_seed_widens_the_mean_of_all() -> None:
    baseline, fresh = runs(8, before=5, fresh=5)
    alone = gate(baseline, fresh)
    shift = np.array([-0.03, 0.03, 0.0, 0.02, -0.02])
    common = gate(baseline + shift, fresh + shift[::-1])
    parts = common.upper - common.drop
    assert parts[-1] / parts[:-1].mean() > (alone.upper - alone.drop)[-1] / (alone.upper - alone.drop)[:-1].mean()


def test_no_fresh_score_is_said() -> None:
    baseline, fresh = runs(9)
    fresh[2] = np.nan
    found = gate(baseline, fresh)
    assert found.verdict[2] == found.verdict[-1] == CANNOT_TELL
    assert "no fresh seed" in found.reason[2]
    assert "no interval" in found.reason[-1]


def test_one_method_and_a_baseline_that_never_varies() -> None:
    single = gate(*(side[:1] for side in runs(10)))
    assert len(single.verdict) == 2
    still = gate(np.full((2, 3), 0.5), np.full((2, 3), 0.5))
    assert set(still.verdict) == {CANNOT_TELL}
    assert all(still.reason)


@pytest.mark.parametrize(("before", "fresh"), [((2, 3), (3, 3)), ((3,), (3,)), ((2, 3), (2, 0))])
def test_refuses_sides_that_do_not_fit(before: tuple[int, ...], fresh: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="same methods"):
        gate(np.zeros(before), np.zeros(fresh))
