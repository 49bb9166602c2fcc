"""Which jobs a rule asks for, seen from the scores that a test chooses."""

import math

import numpy as np
import pytest
from support.jobs import BACKBONE, DATASET, RECIPE

from bench.analysis.stopping import Until
from bench.execute.seeds_by_look import by_look, stages
from bench.matrix.file import Matrix
from bench.matrix.job import ConfigError
from bench.stats.sequential import leaders

LOSSES = ["triplet", "contrastive", "proxy_nca", "normalized_softmax"]
UNTRAINED = {"name": "triplet", "label": "untrained", "recipe": {"epochs": 0}}
RULE = Until("leaders")


def matrix(**changes):
    base = {"datasets": [DATASET], "backbones": [BACKBONE], "losses": LOSSES, "recipe": RECIPE}
    return Matrix.model_validate(base | changes)


def scores(means, *, spread=0.02, seed=0):
    """Name -> the score of every seed."""
    draws = np.random.default_rng(seed).normal(0, spread, (len(means), 16))
    return dict(zip(means, np.array(list(means.values()))[:, None] + draws, strict=True))


def follow(asked, until, table):
    """The stages of one board: the names and seeds that each asks for, and the decision before it."""
    (board,) = by_look(asked, until).boards
    by_key = {job.key: job for job in board}
    found = stages(board, until, lambda key: table[by_key[key].objective.label][by_key[key].seed])
    return [(sorted({(job.objective.label, job.seed) for job in stage.jobs}), stage.decision) for stage in found]


def test_seeds_are_those_that_the_rule_asks_for():
    table = scores({"triplet": 0.6, "contrastive": 0.59, "proxy_nca": 0.3, "normalized_softmax": 0.57})
    running, before = np.ones(4, bool), 0
    found = follow(matrix(), RULE, table)
    for (jobs, _), look in zip(found, leaders([table[name] for name in LOSSES]), strict=False):
        names = [name for name, runs in zip(LOSSES, running, strict=True) if runs]
        assert jobs == sorted((name, seed) for name in names for seed in range(before, look.seeds))
        running, before = look.running, look.seeds
    assert found[0][1] is None
    assert not found[-1][0]
    assert not found[-1][1].running
    assert len(found) > 2


@pytest.mark.parametrize("rule", ["leaders", "order"])
def test_later_seeds_that_are_stored_decide_nothing_before_their_look(rule):
    table = scores({"triplet": 0.6, "contrastive": 0.59, "proxy_nca": 0.3, "normalized_softmax": 0.57})
    found = follow(matrix(), Until(rule), table)
    for stage, (jobs, decision) in enumerate(found[1:-1], start=1):
        later = {name: values.copy() for name, values in table.items()}
        for name, values in later.items():
            values[decision.seeds :] = 0.99 if name == "proxy_nca" else math.nan
            not_asked = {seed for at in found[: stage + 1] for label, seed in at[0] if label == name}
            values[[seed for seed in range(16) if seed not in not_asked]] = 0.99
        assert follow(matrix(), Until(rule), later)[: stage + 1][-1] == (jobs, decision)


def test_floors_and_untrained_lines_run_as_the_matrix_has_them():
    asked = matrix(losses=[*LOSSES, UNTRAINED], floors=["pixels"], seeds=[0, 7])
    found = by_look(asked, RULE)
    assert {(job.objective.label, job.seed) for job in found.outside} == {
        (name, seed) for name in ("untrained", "pixels") for seed in (0, 7)
    }
    assert {job.stopping for job in found.outside} == {None}
    assert {job.seed for job in found.boards[0]} == set(range(10))
    assert {job.objective.label for job in found.boards[0]} == set(LOSSES)
    assert {job.stopping for job in found.boards[0]} == {"leaders, alpha 0.05, at most 10 seeds, by recall_at_1"}


def test_every_dataset_and_backbone_is_a_board():
    other = {**BACKBONE, "width": 4}
    found = by_look(matrix(backbones=[BACKBONE, other]), RULE)
    assert [{job.backbone.label for job in board} for board in found.boards] == [{"conv4(width=8)"}, {"conv4(width=4)"}]


def test_a_member_that_is_out_runs_on_for_its_ensemble():
    fused = {"name": "concatenate", "members": ["triplet", "contrastive"], "label": "both"}
    means = {"triplet": 0.3, "contrastive": 0.7, "proxy_nca": 0.2, "normalized_softmax": 0.7, "both": 0.7}
    found = follow(matrix(model_ensembles=[fused]), RULE, scores(means))
    (jobs, decision) = found[1]
    assert "triplet" not in decision.running
    assert {"both", "contrastive"} <= set(decision.running)
    assert ("triplet", 2) in jobs
    assert ("proxy_nca", 2) not in jobs
    assert decision.sentences[-1] == "triplet is run on as a member of both."


def test_an_ensemble_of_several_seeds_is_fused_in_the_end_from_what_ran():
    fused = {"name": "concatenate", "members": ["triplet"], "seeds": 2, "label": "two seeds"}
    means = {"triplet": 0.7, "contrastive": 0.69, "proxy_nca": 0.2, "normalized_softmax": 0.2}
    found = follow(matrix(model_ensembles=[fused]), Until("leaders", most=7), scores(means))
    ran = {seed for jobs, _ in found for name, seed in jobs if name == "triplet"}
    assert ran == set(range(5))  # so that of the last block one seed is missing
    assert found[-1][0] == [("two seeds", 0), ("two seeds", 2)]
    assert not any(name == "two seeds" for jobs, _ in found[:-1] for name, _ in jobs)


def test_a_job_without_a_score_is_a_seed_without_a_score():
    table = scores({"triplet": 0.6, "contrastive": 0.6, "proxy_nca": 0.6, "normalized_softmax": 0.3})
    table["triplet"][0] = table["proxy_nca"][:2] = math.nan
    found = follow(matrix(), RULE, table)
    (jobs, decision) = found[1]
    assert "triplet" in decision.running  # one seed decides nothing
    assert decision.sentences[0] == "Out: proxy_nca, without a score at 2 seeds."
    assert ("triplet", 2) in jobs
    assert not any(name == "proxy_nca" for later, _ in found[1:] for name, _ in later)
    expected = list(leaders([table[name] if name != "proxy_nca" else np.full(16, np.nan) for name in LOSSES]))
    assert [len(decision.leading) for _, decision in found[1:]] == [look.leading.sum() for look in expected]


@pytest.mark.parametrize(
    ("changes", "until", "sentence"),
    [
        ({"losses": ["triplet"]}, RULE, "fewer than two methods that are trained with one seed at a time"),
        ({"losses": ["triplet", UNTRAINED], "floors": ["pixels"]}, RULE, "there is nothing to decide; add a loss"),
        ({"losses": [UNTRAINED]}, RULE, "there is nothing to decide"),
        ({}, Until("order", metric="recall_at_3"), "triplet does not measure it; add 3 to recipe.recall_at"),
    ],
)
def test_nothing_to_decide_is_said(changes, until, sentence):
    with pytest.raises(ConfigError) as error:
        by_look(matrix(**changes), until)
    assert sentence in str(error.value)
