import math
import sys
from collections.abc import Sequence
from subprocess import run

import numpy as np
import pytest

from bench.analysis.board_comparison import MOST_GROUPED, Comparison, Method, compare, pair, standings
from bench.analysis.verdict_text import board_in_words, look_in_words, pair_in_words, points, probability
from bench.stats.sequential import leaders

Board = tuple[list[Method], np.ndarray]


def method(label: str, scores: Sequence[float], **more: object) -> Method:
    return Method(label, tuple(range(len(scores))), np.array(scores, dtype=float), **more)  # type: ignore[arg-type]


def board(
    worth: Sequence[float], *, seeds: int = 5, classes: int = 40, seed: int = 0
) -> tuple[list[Method], np.ndarray]:
    """Methods A, B, ... of 20 queries per class, seeds .01 apart, and the queries per class."""
    generator, counts = np.random.default_rng(seed), np.full(classes, 20)
    found = []
    for place, mean in enumerate(worth):
        share = mean + generator.normal(0, 0.02, (1, classes)) + generator.normal(0, 0.01, (seeds, 1))
        sums = 20 * np.clip(share, 0, 1)
        found.append(method(chr(ord("A") + place), sums.sum(axis=1) / counts.sum(), class_sums=sums))
    return found, counts


def one_pair(lines: Sequence[Method], counts: np.ndarray | None = None) -> Comparison:
    return pair(compare(lines, counts=counts), "A", "B")


def test_a_clear_difference_in_words() -> None:
    lines, counts = board([0.7, 0.6, 0.5])
    found = compare(lines, counts=counts)
    said = pair_in_words(pair(found, "A", "B"))
    assert said.startswith("A is better than B by ")
    assert "points on these test classes (" in said
    assert "over seeds; Holm over 3 pairs p < .001). On new classes " in said
    assert pair_in_words(pair(found, "B", "A")) == said
    assert board_in_words(found, standings(found)) == "A is better than every other (Holm over 3 pairs)."


def test_a_tie_in_words() -> None:
    lines, counts = board([0.7, 0.7, 0.4])
    found = compare(lines, counts=counts)
    said = pair_in_words(pair(found, "A", "B"))
    assert "cannot be told apart" in said
    assert "would be seen three times in four" in said
    assert "seeds each" in said
    assert "no number of seeds settles it" in said
    verdict = board_in_words(found, standings(found))
    assert verdict.startswith("2 methods lead and cannot be told apart: ")


def test_better_on_these_classes_only() -> None:
    counts = np.full(4, 20)
    uneven = np.array([9, -5, -6, 2.0]) + 14
    a = method("A", [0.7, 0.701, 0.702], class_sums=np.tile(uneven, (3, 1)))
    b = method("B", [0.68, 0.681, 0.679], class_sums=np.full((3, 4), 13.6))
    assert "this holds for these classes only" in pair_in_words(one_pair([a, b], counts))


def test_swapped_sides_give_the_same_numbers_with_the_other_sign() -> None:
    lines, counts = board([0.6, 0.62, 0.61])
    found = compare(lines, counts=counts)
    one, other = pair(found, "A", "C"), pair(found, "C", "A")
    assert one.difference == -other.difference
    assert one.interval == (-other.interval.high, -other.interval.low)
    assert one.new.interval == (-other.new.interval.high, -other.new.interval.low)
    assert (one.p, one.detectable, one.needed) == (other.p, other.detectable, other.needed)


def test_the_order_of_methods_shows_in_no_bit() -> None:
    lines, counts = board([0.6, 0.62, 0.61, 0.59])
    one, other = (pair(compare(board, counts=counts), "A", "C") for board in (lines, lines[::-1]))
    assert repr(one) == repr(other)


def test_two_seeds_say_what_they_borrow() -> None:
    lines, counts = board([0.6, 0.6, 0.61, 0.59], seeds=2)
    assert "mostly borrowed from the other 2 methods" in pair_in_words(one_pair(lines, counts))


def test_one_seed_has_no_verdict() -> None:
    lines, counts = board([0.9, 0.3, 0.6, 0.5, 0.4])
    lines[0] = lines[0]._replace(seeds=(0,), scores=lines[0].scores[:1], class_sums=lines[0].class_sums[:1])  # type: ignore[index]
    found = compare(lines, counts=counts)
    one = pair(found, "A", "B")
    assert math.isnan(one.p)
    assert not one.separated
    assert one.pairs == 6
    said = pair_in_words(one)
    assert said.startswith("These two trained models differ by ")
    assert "says nothing about the methods" in said
    assert "the other 3 methods" in said
    assert standings(found)[0].ranks is None
    assert not standings(found)[0].leads
    assert "1 more has too few seeds" in board_in_words(found, standings(found))


def test_only_single_seeds_say_that_nothing_is_known() -> None:
    lines, counts = board([0.9, 0.3], seeds=1)
    found = compare(lines, counts=counts)
    assert "run a second seed" in board_in_words(found, standings(found))
    assert all(place.reason for place in standings(found))
    assert math.isnan(pair(found, "A", "B").interval.low)
    assert "fewer than 3" in pair(found, "A", "B").reason


def test_shared_models_are_compared_seed_by_seed() -> None:
    generator = np.random.default_rng(1)
    hard = generator.normal(0.6, 0.05, 5)
    alone = method("A", hard, models=frozenset({"a"}))
    fused = method("B", hard + 0.01 + generator.normal(0, 0.001, 5), models=frozenset({"a", "c"}))
    other = method("C", generator.normal(0.6, 0.05, 5), models=frozenset({"c"}))
    found = compare([alone, fused, other])
    assert pair(found, "B", "A").separated
    assert pair(found, "B", "A").shared
    assert not pair(found, "A", "C").shared
    apart = compare([line._replace(models=frozenset()) for line in (alone, fused, other)])
    assert not pair(apart, "B", "A").separated
    late = fused._replace(seeds=(7, 8, 9, 10, 11))
    assert "no seed has a score of both" in pair(compare([alone, late, other]), "A", "B").reason


def test_shared_models_by_class() -> None:
    lines, counts = board([0.6, 0.62, 0.61])
    shared = [line._replace(models=frozenset({"one"})) for line in lines[:2]]
    near = one_pair([*shared, lines[2]], counts).new.interval
    far = one_pair(lines, counts).new.interval
    assert near.low < far.high
    assert math.isfinite(near.low)


def test_two_labels_of_the_same_models() -> None:
    line = method("A", [0.6, 0.61, 0.62], models=frozenset({"x"}))
    found = compare([line, line._replace(label="B"), method("C", [0.5, 0.55, 0.52])])
    assert pair(found, "A", "B").difference == 0
    assert "no verdict, because both are made of the same trained models" in pair_in_words(pair(found, "A", "B"))


def test_identical_seeds_floors_and_missing_scores() -> None:
    lines = [
        method("A", [0.6, 0.62, 0.61]),
        method("B", [0.5, 0.5, 0.5]),
        method("C", [0.3, 0.3], outside=True),
        method("D", [math.nan, math.nan]),
        method("E", [0.55, math.nan, 0.56]),
    ]
    found = compare(lines)
    assert pair(found, "A", "B").separated
    assert pair(found, "A", "C").separated
    assert "D: no seed of it has a score" in pair_in_words(pair(found, "A", "D"))
    assert standings(found)[3].reason
    assert standings(found)[4].seeds == 2
    assert "no scores per class" in pair(found, "A", "B").new.reason
    assert "Nothing is known about new classes" in pair_in_words(pair(found, "A", "B"))


def test_every_nan_has_a_reason_whatever_the_board() -> None:
    generator = np.random.default_rng(2)
    for _ in range(40):
        lines, counts = board(
            generator.uniform(0.2, 0.9, 5), seeds=int(generator.integers(1, 4)), classes=int(generator.integers(1, 5))
        )
        lines = [
            line._replace(scores=np.where(generator.random(len(line.seeds)) < 0.2, np.nan, line.scores))
            for line in lines
        ]
        lines = [line._replace(class_sums=None) if generator.random() < 0.2 else line for line in lines]
        found = compare(lines, counts=counts)
        for place in standings(found):
            assert math.isfinite(place.half_width) or place.reason
        for a, b in zip(*found.at, strict=True):
            one = pair(found, lines[a].label, lines[b].label)
            assert math.isfinite(one.p) != bool(one.reason)
            assert math.isfinite(one.new.interval.low) or one.new.reason
            assert "nan" not in pair_in_words(one)


@pytest.mark.parametrize(
    ("lines", "counts", "sentence"),
    [
        ([method("A", [0.1, 0.2])], None, "two methods"),
        ([method("A", [0.1]), method("A", [0.2])], None, "stands for two"),
        ([method("A", [0.1]), Method("B", (0, 1), np.array([0.2]))], None, "2 seeds"),
        ([method("A", [0.1]), Method("B", (1, 1), np.array([0.2, 0.3]))], None, "a seed twice"),
        ([method("A", [0.1]), method("B", [0.2], class_sums=np.ones((2, 3)))], [1, 1, 1], "class sums"),
        ([method("A", [0.1]), method("B", [0.2], class_sums=np.ones((1, 3)))], None, "queries per class"),
        ([method("A", [0.1]), method("B", [0.2], class_sums=np.ones((1, 3)))], [1, 1], r"not \(1, 2\)"),
    ],
)
def test_what_does_not_fit_is_a_sentence(lines: list[Method], counts: list[int] | None, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        compare(lines, counts=counts)


def test_unknown_and_equal_labels_are_a_sentence() -> None:
    found = compare(board([0.6, 0.5])[0], counts=np.full(40, 20))
    with pytest.raises(ValueError, match="no method Z; it has A, B"):
        pair(found, "A", "Z")
    with pytest.raises(ValueError, match="with itself"):
        pair(found, "A", "A")


def test_a_look_in_words() -> None:
    lines, _ = board([0.9, 0.3, 0.88, 0.5])
    said = look_in_words(next(leaders([line.scores for line in lines])), ["A", "B", "C", "D"])
    assert any(line.startswith("B drops out at 2 seeds: ") for line in said)
    assert any(line.startswith("Still in at 2 seeds: A") for line in said)


def test_numbers_in_words() -> None:
    assert (points(-0.021), points(-0.0001), points(0.05)) == ("−2.1", "0.0", "5.0")
    assert [probability(p) for p in (0.0004, 0.0034, 0.21, 1.0)] == ["< .001", "= .003", "= .21", "= 1"]
    assert [probability(p) for p in (0.0478, 0.0512)] == ["= .048", "= .051"]


def test_needs_no_torch() -> None:
    code = "import sys, bench.analysis.board_comparison, bench.analysis.verdict_text; print('torch' in sys.modules)"
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_what_shares_models_is_found_as_by_looking_at_every_pair() -> None:
    generator = np.random.default_rng(0)
    made_of = [frozenset(generator.choice(list("abcdefgh"), size)) for size in generator.integers(0, 4, 30)]
    lines = [method(f"m{place}", generator.random(3), models=models) for place, models in enumerate(made_of)]
    found = compare(lines)
    expected = [bool(made_of[a] & made_of[b]) for a, b in zip(*found.at, strict=True)]
    assert found.apart.shared.tolist() == expected
    assert 0 < sum(expected) < len(expected)


def test_methods_of_a_very_large_board_have_ranks_but_no_letters() -> None:
    many = [method(f"m{place}", [place / 400, place / 400 + 0.001]) for place in range(MOST_GROUPED + 1)]
    found = standings(compare(many))
    assert {place.letters for place in found} == {""}
    assert all(place.ranks for place in found)
    assert all(place.letters for place in standings(compare(many[:40])))
