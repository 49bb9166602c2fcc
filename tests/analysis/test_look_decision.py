import numpy as np
import pytest

from bench.analysis.look_decision import decide
from bench.analysis.stopping import Decision, Until
from bench.stats.sequential import leaders, looks, order

LABELS = ["A", "B", "C", "D"]
ALONE = np.eye(4, dtype=bool)


def board(*means: float, seed: int = 0) -> np.ndarray:
    return np.array(means)[:, None] + np.random.default_rng(seed).normal(0, 0.02, (len(means), 10))


def all_looks(scores: np.ndarray, until: Until) -> list[Decision]:
    """Every decision, with the scores of the seeds alone that were asked for."""
    found, seen, before = [], np.full_like(scores, np.nan), 0
    running = list(LABELS)
    for look in looks(until.most):
        rows = [LABELS.index(label) for label in running]
        seen[rows, before:look] = scores[rows, before:look]
        found.append(decide(seen[:, :look], LABELS, until, shared=ALONE))
        running, before = list(found[-1].running), look
        if not running:
            break
    return found


@pytest.mark.parametrize("seed", range(3))
def test_decisions_are_those_of_the_rule(seed: int) -> None:
    scores = board(0.9, 0.88, 0.86, 0.6, seed=seed)
    for found, look in zip(all_looks(scores, Until("leaders")), leaders(scores), strict=True):
        assert (found.seeds, [label in found.leading for label in LABELS]) == (look.seeds, look.leading.tolist())
        assert [label in found.running for label in LABELS] == look.running.tolist()
    for found, rank in zip(all_looks(scores, Until("order")), order(scores), strict=True):
        assert [label in found.running for label in LABELS] == rank.running.tolist()
        assert [label in found.leading for label in LABELS] == (~rank.better.any(axis=0)).tolist()


def test_the_leaders_in_words() -> None:
    first, *_, last = all_looks(board(0.9, 0.85, 0.6, 0.59), Until("leaders"))
    assert any(line.startswith("C drops out at 2 seeds: A is better (one-sided p ") for line in first.sentences)
    assert "Still in at 2 seeds: A, B." in first.sentences
    assert last.sentences[-1] == "Decided: A leads."


def test_the_order_in_words() -> None:
    first, *_, last = all_looks(board(0.9, 0.85, 0.6, 0.59), Until("order"))
    assert first.sentences == (
        "4 of 6 pairs are told apart at 2 seeds.",
        "A, B, C, D are not told apart from every other yet, and more seeds can help.",
    )
    assert last.sentences == (
        "5 of 6 pairs are told apart at 10 seeds.",
        "A, B are told apart from every other.",
        "Ended: 10 seeds are the most, and the other pairs are not decided.",
    )
    assert all_looks(board(0.9, 0.7, 0.5, 0.3), Until("order"))[-1].sentences[-1] == "Decided: the whole order."


def test_a_method_that_can_decide_nothing_gets_no_more_seeds() -> None:
    scores = board(0.9, 0.85, 0.85, 0.3)
    said = [line for found in all_looks(scores, Until("order", most=5)) for line in found.sentences]
    assert all_looks(board(0.5, 0.5, 0.5, 0.5, seed=4), Until("leaders"))[-1].sentences[-1].startswith("Ended: ")
    assert any(line.startswith("D is told apart from every other") for line in said)


def test_methods_without_a_score() -> None:
    scores = board(0.9, 0.5, 0.5, 0.5)
    scores[3] = np.nan
    (found,) = all_looks(scores, Until("leaders"))
    assert found.sentences[0] == "Out: D, without a score at 2 seeds."
    assert found.leading == ("A",)
    assert "D" not in " ".join(all_looks(scores, Until("order"))[0].sentences[1:])
    for without, leading in ((slice(1, 4), ("A",)), (slice(0, 4), ())):
        scores[without] = np.nan
        (nothing,) = all_looks(scores, Until("leaders"))
        few = "Fewer than two methods have a score 'recall_at_1' at 2 seeds: nothing to decide."
        assert nothing == Decision(2, leading, (), (few,))
