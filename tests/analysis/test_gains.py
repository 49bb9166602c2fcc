import math
from collections.abc import Sequence
from typing import Any

import pytest
from support import shrunk_variances as oracle
from support.sample_rows import row, row_of, table, unfinished

from bench.analysis.boards import boards
from bench.analysis.controls import reduced
from bench.analysis.gain_intervals import Gain
from bench.analysis.gains import EnsembleGain
from bench.matrix.job import Job

TRIPLET, SOFTMAX, SUM = (0.50, 0.52, 0.54), (0.60, 0.58, 0.59), (0.63, 0.60, 0.65)


def members_and_sum(**of_the_sum: Any) -> list[dict[str, Any]]:
    rows = [row("triplet", seed, recall_at_1=value) for seed, value in enumerate(TRIPLET)]
    rows += [row("softmax", seed, recall_at_1=value) for seed, value in enumerate(SOFTMAX)]
    names = {"kind": "ensemble", "members": ["triplet", "softmax"], **of_the_sum}
    return rows + [row("sum", seed, recall_at_1=value, **names) for seed, value in enumerate(SUM)]


def only_gain(rows: list[dict[str, Any]]) -> EnsembleGain:
    (board,) = boards(table(rows))
    (found,) = board.gains
    return found


def interval(gain: Gain | None) -> tuple[float, float]:
    assert gain is not None
    return gain.mean - gain.half_width, gain.mean + gain.half_width


def control(objective: str, recipe: dict[str, int], values: tuple[float, ...], **others: Any) -> list[dict[str, Any]]:
    """Rows of a member trained anew under another recipe."""
    return [
        row(objective, seed, recall_at_1=value, recipe=recipe, kind="control", **others)
        for seed, value in enumerate(values)
    ]


def reductions(of: list[dict[str, Any]], dim: int, values: tuple[float, ...]) -> list[dict[str, Any]]:
    """Rows of an ensemble reduced to so many numbers."""
    jobs = [job for line in of if (job := Job.stored(line["job"])) and job.objective.members]
    return [
        row_of(reduced(job, dim), recall_at_1=value, embedding_dim=dim) for job, value in zip(jobs, values, strict=True)
    ]


def less(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(ours, theirs, strict=True)]


def test_variances_of_models_trained_apart_add_up() -> None:
    found = only_gain(members_and_sum(kind="ensemble"))
    (ensemble, freedom), (member, other), _ = oracle.shrunk([SUM, SOFTMAX, TRIPLET])
    mean = sum(less(SUM, SOFTMAX)) / 3
    assert [line.objective for line in found.best] == ["softmax"]
    assert interval(found.gain) == pytest.approx(oracle.interval(mean, (ensemble + member) / 3, min(freedom, other)))
    assert found.naive == found.gain


def test_a_fusion_of_trained_models_is_compared_with_its_member_seed_by_seed() -> None:
    found = only_gain(members_and_sum(kind="model_ensemble"))
    apart = less(SUM, SOFTMAX)
    ((variance, freedom),) = oracle.shrunk([apart])
    assert interval(found.gain) == pytest.approx(oracle.interval(sum(apart) / 3, variance / 3, freedom))


def test_variances_of_gains_are_shrunk_over_the_gains_of_the_board() -> None:
    rows = members_and_sum(kind="model_ensemble")
    other = (0.66, 0.60, 0.61)
    fused = {"kind": "model_ensemble", "members": ["triplet", "softmax"]}
    rows += [row("fusion", seed, recall_at_1=value, **fused) for seed, value in enumerate(other)]
    (board,) = boards(table(rows))
    gains = {entry.line.objective: entry.gain for entry in board.gains}
    expected = oracle.shrunk([less(SUM, SOFTMAX), less(other, SOFTMAX)])
    for name, scores, (variance, freedom) in zip(("sum", "fusion"), (SUM, other), expected, strict=True):
        mean = sum(less(scores, SOFTMAX)) / 3
        assert interval(gains[name]) == pytest.approx(oracle.interval(mean, variance / 3, freedom))


def test_what_is_above_0_is_corrected_for_all_gains_of_a_column() -> None:
    rows = [row(name, seed, recall_at_1=0.5 + 0.001 * seed) for name in ("triplet", "softmax") for seed in range(5)]
    lifts = {"certain": 0.05, **{f"no gain {number}": 0.0 for number in range(8)}, "small": 0.0022}
    for at, (name, lift) in enumerate(lifts.items()):
        for seed in range(5):
            value = 0.5 + lift + 0.001 * ((seed + at) % 5)
            of_it = {"kind": "ensemble", "members": ["triplet", "softmax"], "recall_at_1": value}
            rows.append(row(name, seed, **of_it))
    (board,) = boards(table(rows))
    found = {entry.line.objective: entry.gain for entry in board.gains}
    small = found["small"]
    assert small is not None
    assert small.mean > small.half_width  # alone it would be called a gain
    assert {name for name, gain in found.items() if gain is not None and gain.above} == {"certain"}


def test_the_best_member_is_chosen_without_the_seed_it_is_compared_in() -> None:
    # In each seed another member is the luckiest, and over the other seeds the other one is best.
    lucky = {"a": (0.9, 0.5, 0.5), "b": (0.5, 0.9, 0.6)}
    rows = [row(name, seed, recall_at_1=value) for name, values in lucky.items() for seed, value in enumerate(values)]
    rows += [row("sum", seed, recall_at_1=0.7, kind="ensemble", members=["a", "b"]) for seed in range(3)]
    found = only_gain(rows)
    # Without seed 0, b (0.75 against 0.5); without seed 1, a (0.7 against 0.55); without seed 2, a tie: the first, a.
    expected = [0.7 - 0.5, 0.7 - 0.5, 0.7 - 0.5]
    assert [member.objective for member in found.best] == ["a", "b"]
    assert found.gain is not None
    assert found.gain.mean == pytest.approx(sum(expected) / 3)
    assert found.naive is not None
    assert found.naive.mean == pytest.approx(0.7 - (0.5 + 0.9 + 0.6) / 3)


def test_only_seeds_that_all_have_count() -> None:
    found = only_gain([*members_and_sum(), row("triplet", 7, recall_at_1=0.99)])
    assert [member.objective for member in found.best] == ["softmax"]
    assert found.gain is not None
    assert found.gain.seeds == (0, 1, 2)


def test_one_seed_leaves_no_other_to_choose_by() -> None:
    found = only_gain([entry for entry in members_and_sum() if entry["seed"] == 0])
    assert found.gain is None
    assert found.why == "not stated: one seed leaves no other to choose the best member by"
    assert found.naive is not None
    assert found.naive.mean == pytest.approx(0.03)
    assert math.isnan(found.naive.half_width)


@pytest.mark.parametrize("kind", ["ensemble", "model_ensemble"])
def test_an_ensemble_of_equal_size_and_cost_needs_no_controls(kind: str) -> None:
    found = only_gain(members_and_sum(kind=kind))
    same_cost = found.longer == found.gain
    assert (found.reduced, found.grown) == (found.gain, found.gain)
    assert same_cost == (kind == "ensemble")
    assert (found.size, found.cost) == (1, 1 if kind == "ensemble" else 2)


def test_controls_are_found_by_member_and_recipe() -> None:
    rows = members_and_sum(kind="model_ensemble", embedding_dim=256)
    wide, long, small = (0.61, 0.60, 0.60), (0.64, 0.66, 0.62), (0.62, 0.59, 0.61)
    rows += control("softmax", {"dim": 256}, wide, embedding_dim=256) + control("triplet", {"dim": 256}, (0.9,) * 3)
    rows += control("softmax", {"epochs": 20}, long) + control("softmax", {"epochs": 30}, (0.95,) * 3)
    other = members_and_sum(kind="ensemble", embedding_dim=256)
    rows += reductions(rows[:9], 128, small) + reductions(other, 128, (0.1,) * 3)
    found = only_gain(rows)
    for gained, ours, theirs in (
        (found.grown, SUM, wide),
        (found.longer, SUM, long),
        (found.reduced, small, SOFTMAX),
        (found.gain, SUM, SOFTMAX),
    ):
        assert gained is not None
        assert gained.mean == pytest.approx(sum(less(ours, theirs)) / 3)
    assert (found.size, found.cost) == (2, 2)


def test_a_control_is_no_member_even_under_the_recipe_of_the_ensemble() -> None:
    rows = [entry for entry in members_and_sum(recipe={"dim": 256}, embedding_dim=256) if entry["kind"] == "loss"]
    rows += [entry for entry in members_and_sum(recipe={"dim": 256}, embedding_dim=256) if entry["kind"] != "loss"]
    rows += control("softmax", {"dim": 256}, (0.9,) * 3, embedding_dim=256)
    found = only_gain(rows)
    assert [(member.label, member.kind) for member in found.best] == [("softmax", "loss")]
    assert found.grown is not None
    assert found.grown.mean < 0


def test_controls_that_were_not_run_leave_their_gains_open() -> None:
    found = only_gain(members_and_sum(kind="model_ensemble", embedding_dim=256))
    assert found.gain is not None
    assert (found.reduced, found.grown, found.longer) == (None, None, None)


def test_other_seeds_of_one_loss_cost_one_training_each() -> None:
    rows = [row("triplet", seed, recall_at_1=value) for seed, value in enumerate(TRIPLET)]
    fused = {"kind": "model_ensemble", "members": ["triplet", "triplet"], "embedding_dim": 256}
    found = only_gain([*rows, row("concatenate", 0, recall_at_1=0.6, **fused)])
    assert (found.size, found.cost) == (2, 2)
    assert found.gain is not None
    assert found.gain.mean == pytest.approx(0.1)


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
    assert [member.label for member in found.best] == ["softmax"]


def test_a_member_under_another_recipe_is_named_with_it() -> None:
    rows = [entry for entry in members_and_sum() if entry["objective"] != "softmax"]
    rows += [row("softmax", seed, recall_at_1=0.6, recipe={"trunk_rate": 0.1}) for seed in range(3)]
    found = only_gain(rows)
    assert [member.label for member in found.best] == ["softmax (trunk_rate=0.1)"]
