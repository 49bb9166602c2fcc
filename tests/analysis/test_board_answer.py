import pytest
from support.sample_rows import row, table, unfinished
from support.stored_boards import write_rows

from bench.analysis.board_answer import answer
from bench.analysis.boards import boards
from bench.analysis.gain_intervals import Gain
from bench.analysis.gains import EnsembleGain
from bench.analysis.two_methods import compare
from bench.analysis.verdict_text import points


def board(*rows):
    (found,) = boards(table(rows))
    return found


def gained(line, **gains):
    return EnsembleGain(line, **{name: Gain(mean, 0.01, (0, 1), above) for name, (mean, above) in gains.items()})


TWO = [
    row(name, seed, recall_at_1=level + seed / 1000) for name, level in (("a", 0.5), ("b", 0.3)) for seed in range(3)
]


def test_who_leads_is_the_verdict_of_the_board():
    found = board(*TWO)
    assert answer(found)[0] == found.verdict.sentence
    assert found.verdict.sentence.startswith("a is better than every other")


def test_how_far_ahead_is_what_bench_compare_says(tmp_path):
    """Of the best method that is surely behind; one that cannot be told apart is none."""
    rows = [*TWO, *(row("near", seed, recall_at_1=0.4995 + seed / 1000) for seed in range(3))]
    ((pair,),) = (one.pairs for one in compare("a", "b", results=write_rows(tmp_path / "rows", rows)).boards)
    said = f"({points(pair.interval.low)} to {points(pair.interval.high)} over seeds)"
    assert answer(board(*rows))[1] == f"a, with the highest mean, is surely ahead of b, by 20.0 points {said}."


WORST = {"worse": (0.3, 1.0), "worst": (0.2, 0.5)}


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (
            {"slow": (0.501, 7200.0), "quick": (0.5, 90.0), **WORST},
            "Of the leaders, quick takes the least time to train, 90 s a seed; its embedding has 64 numbers. The best "
            "of those that take much less is worse: 90.0 times less, 20.0 points behind it.",
        ),
        (
            {"best": (0.5, 90.0), **WORST},
            "best takes 90 s to train a seed; its embedding has 64 numbers. The best of those that take much less is "
            "worse: 90.0 times less, 20.0 points behind it.",
        ),
        (
            {"best": (0.5, 90.0), "worse": (0.3, 80.0)},
            "best takes 90 s to train a seed; its embedding has 64 numbers. No other method takes much less time.",
        ),
    ],
    ids=["several lead", "one leads", "none is quicker"],
)
def test_what_the_leader_costs_and_what_it_costs_to_save_more(methods, said):
    rows = [
        row(name, seed, recall_at_1=level + seed / 100, seconds_train=time, embedding_dim=64)
        for name, (level, time) in methods.items()
        for seed in range(3)
    ]
    assert said in answer(board(*rows))


def test_where_no_time_is_known_nothing_is_said_of_cost():
    assert not any(
        "to train" in sentence for sentence in answer(board(*(one | {"seconds_train": None} for one in TWO)))
    )


def test_without_two_lines_there_is_nothing_to_say():
    assert answer(board(row("a", 0))) == ()


def test_jobs_without_a_score_are_counted():
    found = board(*TWO, unfinished("c", 0, "failed", "why"), unfinished("c", 1, "failed", "why"))
    assert answer(found)[-1] == "2 jobs have no score."
    assert answer(board(*TWO, unfinished("c", 0, "failed", "why")))[-1] == "1 job has no score."


def test_ensembles_are_counted_as_they_are_at_equal_size_and_at_equal_cost():
    """With the one that gains most; its name is not said again."""
    found = board(*TWO)
    a, b = found.lines
    gains = (
        gained(a, gain=(0.021, True), grown=(0.02, True), longer=(0.02, False)),
        gained(b, gain=(0.034, True), grown=(0.01, False)),
        EnsembleGain(b),
    )
    assert answer(found._replace(gains=gains))[-1] == (
        "Ensembles shown to beat their best member: 2 of 2 (b by 3.4 points); at equal size, 1 of 2 (a by 2.0 points); "
        "at equal cost, none of 1."
    )
    same = (gained(a, gain=(0.021, True), grown=(0.02, True)),)
    assert answer(found._replace(gains=same))[-1] == (
        "Ensembles shown to beat their best member: 1 of 1 (a by 2.1 points); at equal size, 1 of 1 (by 2.0 points)."
    )


def searched_alone(*labels):
    alone = {"kind": "model_ensemble", "members": ["a"]}
    return [row(label, seed, recall_at_1=0.6 + seed / 1000, **alone) for label in labels for seed in range(3)]


def test_one_model_with_another_search_is_no_ensemble_that_pays():
    found = board(*TWO, *searched_alone("k_reciprocal[a]", "whitened[a]"))
    first, second, plain, _ = found.lines
    gains = (gained(first, gain=(0.1, True)), gained(second, gain=(0.2, False)))
    assert answer(found._replace(gains=gains))[-1] == (
        "One model with another search at test time, shown to beat its plain line: 1 of 2 (k_reciprocal[a] by 10.0 "
        "points); these are no ensembles."
    )
    both = answer(found._replace(gains=(gained(second, gain=(0.2, False)), gained(plain, gain=(0.3, True)))))
    assert both[-2:] == (
        "Ensembles shown to beat their best member: 1 of 1 (a by 30.0 points).",
        "One model with another search at test time, shown to beat its plain line: none of 1; these are no ensembles.",
    )


def test_a_note_names_the_lines_with_another_search():
    assert board(*TWO, *searched_alone("k_reciprocal[a]")).notes[-1] == (
        "k_reciprocal[a]: one trained model with another search at test time. It sees no label and trains nothing. "
        "The plain line stays the main one."
    )
    assert not any("test time" in note for note in board(*TWO).notes)
