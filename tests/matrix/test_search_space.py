import math

import numpy as np
import pytest
from support.jobs import BACKBONE, tiny

from bench.matrix.search_space import Range, ranges, trial

TRUNK_AND_HEAD = ["trunk_rate", "head_rate"]


def searched(**changes):
    return [space.name for space in ranges(tiny(**changes)[0])]


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        ("triplet", [*TRUNK_AND_HEAD, "margin"]),
        ("proxy_anchor", [*TRUNK_AND_HEAD, "loss_rate", "margin", "alpha"]),
        ("dynamic_soft_margin", TRUNK_AND_HEAD),
        ("p2s_grad", [*TRUNK_AND_HEAD, "loss_rate"]),
    ],
)
def test_the_rates_of_what_is_trained_and_what_the_paper_tunes(loss, names):
    assert searched(losses=[loss]) == names


@pytest.mark.parametrize(
    ("ensemble", "members", "names"),
    [
        ("sum", ["triplet", "contrastive"], TRUNK_AND_HEAD),
        ("sum", ["triplet", "proxy_anchor"], [*TRUNK_AND_HEAD, "loss_rate"]),
        ("uncertainty", ["triplet", "contrastive"], [*TRUNK_AND_HEAD, "loss_rate"]),
        ("diverse_heads", ["triplet", "contrastive"], [*TRUNK_AND_HEAD, "loss_rate", "diversity"]),
    ],
)
def test_members_of_an_ensemble_keep_their_parameters(ensemble, members, names):
    assert searched(losses=[], ensembles=[{"name": ensemble, "members": members}]) == names


def test_what_is_not_trained_has_no_rate_to_search():
    assert searched(recipe={"trunk_rate": 0.0}) == ["head_rate", "margin"]
    assert searched(backbones=[{**BACKBONE, "head": "none"}]) == ["trunk_rate", "margin"]
    assert searched(losses=[{"name": "triplet", "recipe": {"epochs": 0}}]) == []
    assert searched(losses=["triplet"], floors=["pixels"]) == [*TRUNK_AND_HEAD, "margin"]
    (job,) = tiny()
    frozen = job.backbone.model_copy(update={"parameters": job.backbone.parameters | {"frozen": True}})
    assert [space.name for space in ranges(job.changed(backbone=frozen))] == ["head_rate", "margin"]


def test_a_rate_is_searched_around_the_matrixs_own():
    trunk = ranges(tiny(recipe={"trunk_rate": 3e-4})[0])[0]
    assert (trunk.at(0), trunk.at(0.5), trunk.at(1)) == (3e-5, 3e-4, 3e-3)


def test_values_are_even_in_what_they_say_and_inside_the_bounds():
    shares = np.linspace(0, 1, 101)
    log, linear = Range("a", 0.001, 0.1, log=True), Range("b", 0.0, 0.4, log=False)
    assert log.at(0.5) == 0.01
    assert linear.at(0.25) == 0.1
    whole = Range("c", 1, 4, log=False, whole=True)
    assert {whole.at(share) for share in shares} == {1, 2, 3, 4}
    assert all(isinstance(whole.at(share), int) for share in shares)
    for space in (log, linear, whole):
        assert all(space.low <= space.at(share) <= space.high for share in shares)


def test_the_first_trial_is_the_matrixs_own_setting_and_the_others_are_not():
    (job,) = tiny(losses=["proxy_anchor"])
    first, second = trial(job, 0, [0.9] * 5), trial(job, 1, [0.9] * 5)
    assert first.key == job.key
    assert first.objective.label == "proxy_anchor, trial 0"
    assert second.key != job.key
    expected = 32 * 2 ** (math.log2(8 * 8**0.9) - 5)  # 8 to 64, at 0.9 of the logarithm
    moved = {"margin": 0.36, "alpha": pytest.approx(expected, rel=0.01)}
    assert second.objective.parameters == {**moved, "initial_weights": None}
    assert second.recipe.loss_rate == pytest.approx(1e-2 * 10**0.8, rel=0.01)
    same = {"trunk_rate", "head_rate", "loss_rate"}
    assert second.recipe.model_dump(exclude=same) == job.recipe.model_dump(exclude=same)


def test_whole_parameters_stay_whole():
    (job,) = tiny(losses=["fast_ap"])
    assert trial(job, 1, [0.5, 0.5, 0.5]).objective.parameters["bins"] == 16
