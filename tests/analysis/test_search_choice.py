import math

import pandas as pd
import pytest
from support.jobs import tiny

from bench.analysis.search_choice import choose
from bench.matrix.search_space import ranges, trial

JOB = tiny(losses=["proxy_anchor"])[0]
TRIALS = tuple(trial(JOB, number, [number / 10] * 5) for number in range(4))


def rows(scores, *, status="done", test=(0.1, 0.9, 0.9, 0.9)):
    """Rows in another order than the trials; the test scores say the opposite."""
    several = [status] * 4 if isinstance(status, str) else status
    found = [
        {"key": job.key, "status": s, "reason": None if s == "done" else f"it {s}.", "validation_map_at_r": score}
        for job, s, score in zip(TRIALS, several, scores, strict=True)
    ]
    return pd.DataFrame(found).assign(map_at_r=test).iloc[::-1]


def test_held_out_classes_choose_and_the_test_is_not_asked():
    found = choose(JOB, TRIALS, rows([0.2, 0.1, 0.4, 0.3]))
    assert (found.best, found.scores, found.reason) == (2, (0.2, 0.1, 0.4, 0.3), "")
    chosen = TRIALS[2]
    assert {space.name: value for space, value in found.values} == {
        **{name: value for name, value in chosen.objective.parameters.items() if name != "initial_weights"},
        **{name: getattr(chosen.recipe, name) for name in ("trunk_rate", "head_rate", "loss_rate")},
    }


def test_of_equal_trials_the_first_is_taken():
    assert choose(JOB, TRIALS, rows([0.1, 0.4, 0.4, 0.4])).best == 1


def test_a_trial_that_ended_badly_is_spent():
    found = choose(JOB, TRIALS, rows([0.1, 0.9, 0.2, None], status=["done", "diverged", "done", "failed"]))
    assert found.best == 2
    assert [math.isnan(score) for score in found.scores] == [False, True, False, True]


@pytest.mark.parametrize(("status", "skipped"), [("failed", False), ("diverged", False), ("skipped", True)])
def test_without_a_score_there_is_no_choice_but_a_reason(status, skipped):
    found = choose(JOB, TRIALS, rows([None] * 4, status=status).drop(columns="validation_map_at_r"))
    assert (found.best, found.reason, found.skipped, found.values) == (None, f"it {status}", skipped, ())


def test_nothing_to_search():
    (job,) = tiny(recipe={"epochs": 0})
    assert ranges(job) == ()
    found = choose(job, (), rows([0.1, 0.2, 0.3, 0.4]))
    assert (found.best, found.scores, found.skipped) == (None, (), False)
