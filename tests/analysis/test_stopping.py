import pickle

import pandas as pd
import pytest
from support.sample_rows import job, row, table

from bench.analysis.boards import boards
from bench.analysis.stopping import Until, checked, mark
from bench.matrix.job import ConfigError, Job
from bench.store.row import Row

RULE = mark(Until("leaders"))


def test_a_name_is_a_rule_with_the_usual_choices() -> None:
    assert checked("order") == Until("order", most=10, alpha=0.05, metric="recall_at_1")
    assert mark(Until("order", 16, 0.01, "map_at_r")) == "order, alpha 0.01, at most 16 seeds, by map_at_r"


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("leader", "there is no rule 'leader'; did you mean 'leaders'?"),
        (Until("first"), "there is no rule 'first'; known: leaders, order"),
        (Until("leaders", most=1), "--max-seeds 1: fewer than 2 seeds decide nothing; allow 2 or more"),
        (Until("leaders", alpha=0), "--alpha 0: an error rate lies between 0 and 1; give one such as 0.05"),
        (Until("leaders", alpha=1), "--alpha 1: an error rate lies between 0 and 1"),
        (Until("leaders", alpha=float("nan")), "--alpha nan: an error rate lies between 0 and 1"),
        (Until("leaders", metric="recall@1"), "there is no score 'recall@1'; did you mean 'recall_at_1'?"),
        (Until("leaders", metric="seconds"), "there is no score 'seconds'"),
    ],
)
def test_what_cannot_be_decided_is_a_sentence(asked: Until | str, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        checked(asked)
    assert sentence in str(error.value)


def test_the_mark_is_stored_and_changes_no_identity() -> None:
    plain = job("triplet")
    marked = plain.changed(stopping=RULE)
    assert (marked.key, marked.cell, marked.model_dump_json()) == (plain.key, plain.cell, plain.model_dump_json())
    assert pickle.loads(pickle.dumps(marked)).stopping == RULE
    assert marked.changed(control=True).stopping == RULE
    assert Row.of(marked, "done").table()["stopping"].to_pylist() == [RULE]
    assert Job.stored(Row.of(marked, "done").job) == plain


def test_a_board_says_how_its_seeds_were_chosen() -> None:
    plain = [row("triplet", 0), row("triplet", 1), row("contrastive", 0)]
    (before,) = boards(table(plain))
    assert not any("look by look" in note for note in before.notes)
    (board,) = boards(table([*plain, row("contrastive", 1, stopping=RULE)]))
    assert [note for note in board.notes if f"Seeds were added look by look ({RULE})." in note]
    (older,) = boards(table([{name: value for name, value in one.items() if name != "stopping"} for one in plain]))
    assert older.notes == before.notes
    assert pd.isna(plain[0]["stopping"])
