import math
from typing import Any

import pytest
from sample_rows import row, table, unfinished
from scipy import stats as oracle

from bench.report.boards import boards
from bench.report.gains import EnsembleGain, gains

TRIPLET, SOFTMAX, SUM = (0.50, 0.52, 0.54), (0.60, 0.58, 0.59), (0.63, 0.60, 0.65)


def members_and_sum(**of_the_sum: Any) -> list[dict[str, Any]]:
    rows = [row("triplet", seed, recall_at_1=value) for seed, value in enumerate(TRIPLET)]
    rows += [row("softmax", seed, recall_at_1=value) for seed, value in enumerate(SOFTMAX)]
    names = {"kind": "ensemble", "members": ["triplet", "softmax"], **of_the_sum}
    return rows + [row("sum", seed, recall_at_1=value, **names) for seed, value in enumerate(SUM)]


def only_gain(rows: list[dict[str, Any]]) -> EnsembleGain:
    (board,) = boards(table(rows))
    (found,) = gains(board)
    return found


@pytest.mark.parametrize("kind", ["ensemble", "model_ensemble"])
def test_gain_is_paired_by_seed_against_the_best_member(kind: str) -> None:
    found = only_gain(members_and_sum(kind=kind))
    assert found.best is not None
    assert found.best.objective == "softmax"
    assert found.gain is not None
    assert found.gain.mean == pytest.approx((0.03 + 0.02 + 0.06) / 3)
    low, high = oracle.ttest_rel(SUM, SOFTMAX).confidence_interval(0.95)
    assert (found.gain.mean - found.gain.half_width, found.gain.mean + found.gain.half_width) == pytest.approx(
        (low, high)
    )


def test_the_best_member_is_chosen_over_the_same_seeds() -> None:
    # Over all its seeds triplet is ahead of softmax; over the seeds that all three have it is not.
    rows = [*members_and_sum(), row("triplet", 7, recall_at_1=0.99)]
    found = only_gain(rows)
    assert found.best is not None
    assert found.best.objective == "softmax"
    assert found.gain is not None
    assert found.gain.seeds == (0, 1, 2)


def test_one_shared_seed_gives_a_gain_without_interval() -> None:
    rows = [entry for entry in members_and_sum() if entry["seed"] == 0]
    found = only_gain(rows)
    assert found.gain is not None
    assert found.gain.mean == pytest.approx(0.03)
    assert math.isnan(found.gain.half_width)


def test_a_member_that_was_not_run_alone_leaves_the_gain_unstated() -> None:
    rows = [entry for entry in members_and_sum() if entry["objective"] != "softmax"]
    assert only_gain(rows).why == "not stated: member softmax was not run alone"
    assert only_gain(rows).gain is None


def test_a_member_that_failed_leaves_the_gain_unstated() -> None:
    rows = [entry for entry in members_and_sum() if entry["objective"] != "softmax"]
    rows.append(unfinished("softmax", 0, "failed", "No memory."))
    assert only_gain(rows).why == "not stated: member softmax has no finished run"


def test_members_with_other_seeds_leave_the_gain_unstated() -> None:
    rows = [entry if entry["objective"] != "softmax" else entry | {"seed": 9} for entry in members_and_sum()[:4]]
    rows.append(members_and_sum()[-1])
    assert only_gain(rows).why == "not stated: no seed was finished by it and by every member"


def test_a_member_under_the_same_recipe_is_preferred() -> None:
    longer = [row("softmax", seed, recall_at_1=0.9, recipe={"epochs": 90}) for seed in range(3)]
    found = only_gain([*members_and_sum(), *longer])
    assert found.best is not None
    assert found.best.label == "softmax"


def test_a_member_under_another_recipe_is_named_with_it() -> None:
    rows = [entry for entry in members_and_sum() if entry["objective"] != "softmax"]
    rows += [row("softmax", seed, recall_at_1=0.6, recipe={"rate": 0.1}) for seed in range(3)]
    found = only_gain(rows)
    assert found.best is not None
    assert found.best.label == "softmax (rate=0.1)"
