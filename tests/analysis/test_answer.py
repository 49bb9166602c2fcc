from support.sample_rows import row, table, unfinished

from bench.analysis.answer import answer
from bench.analysis.boards import boards
from bench.analysis.gain_intervals import Gain
from bench.analysis.gains import EnsembleGain


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
    assert answer(found) == (found.verdict.sentence,)
    assert found.verdict.sentence.startswith("a is better than every other")


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
