"""The promises of the statistics by simulation: coverage, false alarms, power. Fixed generators; -s prints them."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr

from bench.stats.class_variance import class_part, crossed, profiles
from bench.stats.difference import Methods, difference, methods, pairs
from bench.stats.estimate import Estimate
from bench.stats.power import detectable, superior
from bench.stats.ranks import holm
from bench.stats.regression_gate import gate
from bench.stats.sequential import leaders, order

A, B = np.array([0]), np.array([1])


def draw(shape: tuple[int, int, int], *, seed: int, typical: float = 1.2) -> tuple[NDArray, NDArray]:
    """Boards [R, m, S] of equal methods in points, and the true seed sd of each method [R, m, 1]."""
    generator = np.random.default_rng(seed)
    sd = typical * np.exp(0.35 * generator.standard_normal((*shape[:2], 1)))
    return sd, sd * generator.standard_normal(shape)


def first_pair(scores: NDArray) -> tuple[Methods, Estimate]:
    found = methods(scores)
    return found, difference(found, A, B)


@pytest.mark.parametrize(
    ("seeds", "coverage", "width", "power"),
    [(2, 0.949, 3.48, 0.683), (3, 0.955, 2.61, 0.705), (5, 0.955, 1.87, 0.731), (10, 0.955, 1.24, 0.768)],
)
def test_intervals_detectable_differences_and_superiority(
    seeds: int, coverage: float, width: float, power: float
) -> None:
    sd, scores = draw((4000, 8, seeds), seed=seeds)
    found, pair = first_pair(scores)
    covered = (np.abs(pair.mean) <= pair.half_width()).mean()
    again = first_pair(sd * np.random.default_rng(99).standard_normal(scores.shape))[1]
    shifted = again._replace(mean=again.mean + detectable(pair))
    seen = (shifted.p_two_sided() < 0.05).mean()
    runs = superior(pair._replace(mean=pair.mean + 1), found.variance[:, [0]] + found.variance[:, [1]])
    truth = ndtr(1 / np.hypot(sd[:, 0], sd[:, 1]))
    held = ((runs.low <= truth) & (truth <= runs.high)).mean()
    print(f"\n{seeds} seeds: covered {covered:.3f}, half width {pair.half_width().mean():.2f}, ", end="")
    print(f"detectable {detectable(pair).mean():.2f} found {seen:.3f}, P(A > B) covered {held:.3f}")
    assert covered == pytest.approx(coverage, abs=0.012)
    assert pair.half_width().mean() == pytest.approx(width, rel=0.03)
    assert seen == pytest.approx(power, abs=0.03)  # two binomial errors of the two simulations, rounded up
    assert 0.93 <= held <= 0.985


@pytest.mark.parametrize("seed_sd", [0.4, 2.0])
@pytest.mark.parametrize("seeds", [3, 5])
def test_both_targets_cover(seeds: int, seed_sd: float) -> None:
    """100 classes of 20 queries; sd of class means: classes 6 points, queries 30 / sqrt(20), seeds x classes 4."""
    generator = np.random.default_rng(int(10 * seed_sd) + seeds)
    draws, lines, classes, queries = 2000, 8, 100, 20
    counts, query_sd = np.full(classes, queries), 30 / np.sqrt(queries)
    inside = np.zeros(2)
    for _ in range(draws):
        kept = generator.normal(0, np.hypot(6, query_sd), (2, 1, classes))
        own = generator.normal(0, seed_sd, (lines, seeds, 1))
        tables = kept + own[:2] + generator.normal(0, np.hypot(4, query_sd), (2, seeds, classes))
        others = own[2:, :, 0] + generator.normal(0, np.hypot(4, query_sd) / np.sqrt(classes), (lines - 2, seeds))
        pair = first_pair(np.vstack([tables.mean(axis=2), others]))[1]
        both = crossed(pair, class_part(profiles(list(queries * tables), counts), A, B))
        truth = (kept[0] - kept[1]).mean()
        inside += abs(pair.mean[0] - truth) <= pair.half_width()[0], abs(both.mean[0]) <= both.half_width()[0]
    print(f"\n{seeds} seeds, seed sd {seed_sd}: covered (i) {inside[0] / draws:.3f}, (ii) {inside[1] / draws:.3f}")
    assert inside[0] / draws == pytest.approx(0.955, abs=0.02)
    assert inside[1] / draws == pytest.approx(0.955, abs=0.02)


@pytest.mark.parametrize(("before", "fresh"), [(3, 3), (5, 5), (10, 3)])
def test_the_gate_raises_few_false_alarms_and_sees_a_drop(before: int, fresh: int) -> None:
    _, scores = draw((10_000, 6, before + fresh), seed=before + fresh, typical=0.012)
    baseline, again = scores[..., :before], scores[..., before:]
    alarms = (gate(baseline, again).verdict == "worse").any(axis=-1).mean()
    found = (gate(baseline, again - np.eye(6)[0][:, None] * 0.05).verdict[:, 0] == "worse").mean()
    print(f"\n{before} + {fresh} seeds: false alarms {alarms:.4f}, a drop of 5 points found {found:.3f}")
    assert alarms <= 0.013
    assert found >= (0.66 if fresh == before == 3 else 0.85)


def test_the_gate_by_the_same_seeds() -> None:
    generator = np.random.default_rng(6)
    sd, baseline = draw((4000, 6, 3), seed=5, typical=0.012)
    again = 0.9 * baseline + sd * np.sqrt(1 - 0.9**2) * generator.standard_normal(baseline.shape)
    seeds = ([0, 1, 2], [0, 1, 2])
    still, one, whole = (gate(baseline, again - drop, shared=seeds) for drop in (0, np.eye(6)[0][:, None] * 0.02, 0.01))
    alarms, two = (still.verdict == "worse").any(axis=-1).mean(), (one.verdict[:, 0] == "worse").mean()
    every = (whole.verdict == "worse").any(axis=-1).mean()
    print(f"\nsame seeds: false alarms {alarms:.4f}, a drop of 2 found {two:.3f}, all down by 1 found {every:.3f}")
    assert alarms <= 0.013 + 0.002  # 4,000 tables, not 10,000: one binomial error more
    assert two >= 0.72
    assert every >= 0.87


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_holm_separates_equal_methods_rarely(seeds: int) -> None:
    _, scores = draw((4000, 10, seeds), seed=seeds)
    alarms = (holm(difference(methods(scores), *pairs(10)).p_two_sided()) <= 0.05).any(axis=-1).mean()
    print(f"\nten equal methods, {seeds} seeds: any separated {alarms:.3f}")
    assert alarms <= 0.06


def test_the_order_rule_separates_equal_methods_rarely() -> None:
    _, scores = draw((2000, 10, 10), seed=3)
    last = list(order(scores))[-1]
    alarms = last.better.any(axis=(-1, -2)).mean()
    print(f"\nten equal methods, order rule: any separated {alarms:.3f}")
    assert alarms <= 0.06 + 0.005  # 2,000 boards: one binomial error


@pytest.mark.parametrize("spread", [0.0, 1.0, 3.0])
def test_the_leaders_rule_keeps_the_best(spread: float) -> None:
    _, scores = draw((2000, 10, 10), seed=4)
    truth = np.linspace(0, -spread, 10)
    looks = list(leaders(scores + truth[:, None]))
    kept = looks[-1].leading[:, 0].mean()
    more = np.array([3 - 2, 5 - 3, 7 - 5, 10 - 7])
    used = 2 + sum(gap * look.running.mean() for gap, look in zip(more, looks, strict=False))
    print(f"\nleaders rule, methods {spread} points apart in all: best kept {kept:.3f}, runs used {used / 10:.2f}")
    assert kept >= 0.95
    assert used < 10
