"""Labels are for readers: they decide neither what is averaged nor what is compared."""

from typing import Any

import pandas as pd
import pytest
from support.sample_rows import job, older, row, row_of, table, unfinished

from bench.analysis.boards import Board, boards
from bench.matrix.job import Part
from bench.store.rows_without_job import identified


def triplet(margin: float, label: str = "ours") -> Part:
    return Part(name="triplet", parameters={"margin": margin}, label=label)


def lines(board: Board) -> dict[str, tuple[int, float]]:
    """Label -> seeds, and mean Recall@1."""
    return {line.label: (line.done, round(line.scores["recall_at_1"].mean, 6)) for line in board.lines}


def test_two_objectives_with_one_label_are_two_lines_told_apart_by_what_differs() -> None:
    rows = [row(triplet(0.1), seed, recall_at_1=0.2) for seed in range(3)]
    rows += [row(triplet(0.9), seed, recall_at_1=0.9) for seed in range(3)]
    (board,) = boards(table(rows))
    assert lines(board) == {"ours (margin=0.9)": (3, 0.9), "ours (margin=0.1)": (3, 0.2)}
    assert board.notes == ()


def test_one_objective_under_two_labels_is_one_line_under_the_latest() -> None:
    rows = [row(triplet(0.1), 0, recall_at_1=0.4, started="2024-05-01T10:00:00Z")]
    rows += [row(triplet(0.1, "renamed"), 1, recall_at_1=0.6, started="2024-05-02T10:00:00Z")]
    (board,) = boards(table(rows))
    assert lines(board) == {"renamed": (2, 0.5)}
    (board,) = boards(table(rows), [job(triplet(0.1, "asked for"))])
    assert lines(board) == {"asked for": (2, 0.5)}


def test_what_a_matrix_asks_for_as_a_loss_is_one_though_it_ran_as_a_control() -> None:
    rows = table([row("triplet", seed, kind="control") for seed in range(2)])
    assert [line.kind for line in boards(rows)[0].lines] == ["control"]
    assert [line.kind for line in boards(rows, [job("triplet", seed) for seed in range(2)])[0].lines] == ["loss"]


def test_seeds_that_ran_as_a_control_and_as_a_loss_are_one_line_of_a_loss() -> None:
    (board,) = boards(table([row("triplet", 0, kind="control"), row("triplet", 1), row("triplet", 2, kind="control")]))
    assert [(line.kind, line.done) for line in board.lines] == [("loss", 3)]


def test_recipes_and_parameters_are_both_named_where_both_differ() -> None:
    rows = [row("softmax", seed) for seed in range(3)]
    rows += [row(triplet(margin), recipe={"epochs": 2}) for margin in (0.1, 0.9)]
    (board,) = boards(table(rows))
    assert set(lines(board)) == {"softmax", "ours (epochs=2, margin=0.1)", "ours (epochs=2, margin=0.9)"}


def test_ensembles_that_differ_in_a_member_are_told_apart_by_it() -> None:
    for kind in ("ensemble", "model_ensemble"):
        rows = []
        for margin in (0.1, 0.9):
            whole = job("sum", kind=kind, members=["triplet"])
            own = {"objective": whole.objective.model_copy(update={"members": (triplet(margin),)})}
            members = tuple(member.changed(objective=triplet(margin)) for member in whole.members)
            rows.append(row_of(whole.changed(**own, members=members)))
        (board,) = boards(table(rows))
        assert set(lines(board)) == {"sum (0.ours.margin=0.1)", "sum (0.ours.margin=0.9)"}


def test_datasets_and_backbones_with_one_label_are_boards_of_their_own() -> None:
    small, large = (Part(name="glyphs", parameters={"classes": n}, label="letters") for n in (20, 90))
    narrow, wide = (Part(name="conv4", parameters={"width": n}, label="net") for n in (8, 64))
    rows = [row(dataset=dataset, backbone=net) for dataset in (small, large) for net in (narrow, wide)]
    found = [(board.dataset, board.backbone) for board in boards(table(rows))]
    assert found == [
        (f"letters (classes={classes})", f"net (width={width})") for classes in (20, 90) for width in (64, 8)
    ]


def test_one_dataset_under_two_labels_is_one_board() -> None:
    names = (Part(name="glyphs", label="letters"), Part(name="glyphs", label="glyphs"))
    rows = [row("triplet", seed, dataset=name, started=f"2024-05-0{seed + 1}") for seed, name in enumerate(names)]
    (board,) = boards(table(rows))
    assert (board.dataset, lines(board)) == ("glyphs", {"triplet": (2, 0.64)})


@pytest.mark.parametrize("also", [[], [row("softmax", seed) for seed in range(2)]], ids=["alone", "beside newer rows"])
def test_rows_that_do_not_know_their_job_are_told_by_what_they_say(also: list[dict[str, Any]]) -> None:
    rows = [older(row("triplet", seed)) for seed in range(3)]
    rows += [older(row("triplet", seed, recipe={"epochs": 2})) for seed in range(2)]
    rows += [older(unfinished("triplet", 3, "failed", "No memory."))]
    (board,) = boards(identified(table([*rows, *also])))
    found = {line.label: (line.done, line.seeds) for line in board.lines if line.objective == "triplet"}
    assert found == {"triplet": (3, 4), "triplet (epochs=2)": (2, 2)}


def test_rows_that_do_not_know_their_job_learn_it_from_the_matrix() -> None:
    rows = [older(row(triplet(margin), seed)) for margin in (0.1, 0.9) for seed in range(2)]
    (board,) = boards(identified(table(rows)), [job(triplet(m), s) for m in (0.1, 0.9) for s in range(2)])
    assert {label: done for label, (done, _) in lines(board).items()} == {
        "ours (margin=0.1)": 2,
        "ours (margin=0.9)": 2,
    }


def test_a_job_that_this_version_cannot_read_still_has_its_cell() -> None:
    rows = table([row("triplet", seed) for seed in range(3)])
    (board,) = boards(rows.assign(job='{"from": "the future"}'))
    assert lines(board) == {"triplet": (3, 0.64)}


def test_the_order_of_rows_decides_nothing() -> None:
    rows = table([row(triplet(m, label), s) for m, label in ((0.1, "a"), (0.9, "a"), (0.5, "b")) for s in range(2)])
    shuffled: pd.DataFrame = rows.sample(frac=1, random_state=1)
    assert lines(boards(rows)[0]) == lines(boards(shuffled)[0])
