import itertools
import re

import pytest

from bench.matrix.expand import expand
from bench.matrix.file import Matrix, load, matrices
from bench.matrix.job import ConfigError


def matrix(**changes):
    base = {"datasets": ["glyphs"], "backbones": ["conv4"], "losses": ["contrastive", "triplet"]}
    return Matrix.model_validate(base | changes)


def test_a_key_is_pinned():
    """A changed key makes everybody's stored results unreachable: change it only together with PROTOCOL."""
    (job,) = expand(matrix(losses=["proxy_anchor"]))
    assert job.key == "glyphs-conv4-proxy_anchor-s0-d3d109e65793"


def test_trained_jobs_come_first_and_fusions_last():
    jobs = expand(matrix(seeds=2, model_ensembles=[{"name": "concatenate", "members": ["contrastive", "triplet"]}]))
    assert [job.kind for job in jobs] == ["loss"] * 4 + ["model_ensemble"] * 2
    assert [member.key for member in jobs[4].members] == [job.key for job in jobs[:2]]


def test_floors_come_between_what_trains_and_what_is_fused():
    fused = [{"name": "concatenate", "members": ["contrastive", "triplet"]}]
    jobs = expand(matrix(floors=["pixels", {"name": "pixels", "centred": True}], model_ensembles=fused, seeds=2))
    assert [job.kind for job in jobs] == ["loss"] * 4 + ["floor"] * 4 + ["model_ensemble"] * 2
    assert {job.objective.label for job in jobs[4:8]} == {"pixels", "pixels(centred=True)"}


@pytest.mark.parametrize(
    ("floor", "sentence"),
    [
        ("pixel", "there is no floor 'pixel'; did you mean 'pixels'?"),
        ({"name": "pixels", "size": 8}, "pixels has no parameter 'size'; did you mean 'side'?"),
        ({"name": "pixels", "side": 0}, "side = 0 is not possible"),
        ({"name": "pixels", "members": ["triplet"]}, "pixels takes no members"),
    ],
)
def test_a_wrong_floor_is_refused_in_a_sentence(floor, sentence):
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        expand(matrix(floors=[floor]))


@pytest.mark.parametrize("name", matrices())
def test_every_matrix_that_comes_along_expands(name):
    assert len({job.key for job in expand(load(name))}) >= 6


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": {"epochs": 3}},
        {"recipe": {"recall_at": [1, 10]}},
        {"recipe": {"crop": 24}},
        {"recipe": {"validation": {"share": 0.2}}},
        {"recipe": {"validation": {"folds": 4}}},
        {"recipe": {"optimizer": "sgd"}},
        {"recipe": {"head_epochs": 0.5}},
        {"recipe": {"images_at_a_time": 32}},
        {"backbones": [{"name": "conv4", "freeze_stages": 1}]},
        {"seeds": [7]},
        {"datasets": [{"name": "glyphs", "classes": 299}]},
        {"backbones": [{"name": "conv4", "width": 32}]},
        {"backbones": [{"name": "conv4", "pooling": "gem"}]},
        {"losses": [{"name": "proxy_anchor", "alpha": 16}]},
        {"losses": [{"name": "proxy_anchor", "recipe": {"loss_rate": 0.5}}]},
    ],
)
def test_what_changes_a_result_changes_the_key(change):
    base = {"losses": ["proxy_anchor"]}
    assert expand(matrix(**base))[0].key != expand(matrix(**(base | change)))[0].key


@pytest.mark.parametrize(
    "same",
    [
        {"losses": [{"name": "proxy_anchor", "label": "mine"}]},
        {"losses": [{"name": "proxy_anchor", "alpha": 32}]},
        {"losses": [{"name": "proxy_anchor", "alpha": 32.0, "margin": 0.1}]},
        {"recipe": {"epochs": 10}},
    ],
)
def test_what_does_not_change_a_result_does_not_change_the_key(same):
    base = {"losses": ["proxy_anchor"]}
    assert expand(matrix(**base))[0].key == expand(matrix(**(base | same)))[0].key


def test_labels_name_what_differs_from_the_default():
    jobs = expand(matrix(losses=["proxy_anchor", {"name": "proxy_anchor", "alpha": 16}], ensembles=[
        {"name": "sum", "members": ["triplet", {"name": "proxy_anchor", "alpha": 16}], "weights": [1, 0.5]},
    ]))  # fmt: skip
    assert [job.objective.label for job in jobs] == [
        "proxy_anchor",
        "proxy_anchor(alpha=16.0)",
        "sum[triplet, proxy_anchor(alpha=16.0)](weights=(1.0, 0.5))",
    ]


def test_a_label_stands_for_the_loss_that_carries_it():
    soft = {"name": "proxy_anchor", "alpha": 4, "label": "soft", "recipe": {"epochs": 3}}
    jobs = expand(matrix(losses=[soft, "triplet"], ensembles=[{"name": "sum", "members": ["soft", "triplet"]}]))
    member = jobs[2].objective.members[0]
    assert (member.label, member.parameters["alpha"], member.recipe) == ("soft", 4, {})


def test_ensembles_nest():
    inner = {"name": "slices", "members": ["triplet", "contrastive"]}
    (job,) = expand(matrix(losses=[], ensembles=[{"name": "sum", "members": ["proxy_nca", inner]}]))
    assert job.objective.label == "sum[proxy_nca, slices[triplet, contrastive]]"


def test_recipes_override_from_dataset_to_objective():
    jobs = expand(
        matrix(
            recipe={"epochs": 2, "dim": 16},
            backbones=[{"name": "conv4", "recipe": {"epochs": 3}}],
            losses=[{"name": "triplet", "recipe": {"epochs": 4}}, "contrastive"],
        )
    )
    assert [(job.recipe.epochs, job.recipe.dim) for job in jobs] == [(4, 16), (3, 16)]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"losses": ["tripet"]}, "losses.0: there is no loss 'tripet'; did you mean 'triplet'?"),
        (
            {"losses": [{"name": "triplet", "marign": 1}]},
            "losses.0: triplet has no parameter 'marign'; did you mean 'margin'?",
        ),
        (
            {"losses": [{"name": "triplet", "recipe": {"epoch": 1}}]},
            "losses.0.recipe.epoch: unknown; did you mean 'epochs'?",
        ),
        ({"losses": [{"name": "triplet", "members": ["contrastive"]}]}, "triplet takes no members"),
        ({"losses": ["triplet", "triplet"]}, "'triplet' stands twice"),
        ({"losses": ["triplet", {"name": "triplet", "label": "again"}]}, "are the same job"),
        ({"datasets": ["glyph"]}, "datasets.0: there is no dataset 'glyph'; did you mean 'glyphs'?"),
        ({"backbones": ["resnet18"]}, "backbones.0: there is no backbone 'resnet18'"),
        ({"ensembles": ["sum"]}, "ensembles.0: sum needs members"),
        ({"ensembles": [{"name": "sum", "members": []}]}, "ensembles.0: sum needs members"),
        ({"ensembles": [{"name": "sum", "members": ["conv4"]}]}, "ensembles.0: there is no loss 'conv4'"),
        (
            {"ensembles": [{"name": "sum", "members": [{"name": "triplet", "recipe": {"epochs": 1}}]}]},
            "members train together",
        ),
        ({"model_ensembles": ["concatenate"]}, "concatenate needs members"),
        (
            {"model_ensembles": [{"name": "concatenate", "members": ["tripet"]}]},
            "not trained here; did you mean 'triplet'?",
        ),
        (
            {
                "losses": ["triplet", {"name": "proxy_anchor", "alpha": 8}, {"name": "proxy_anchor", "alpha": 16}],
                "model_ensembles": [{"name": "concatenate", "members": ["triplet", "proxy_anchor"]}],
            },
            "'proxy_anchor' could be several entries",
        ),
    ],
)
def test_a_wrong_entry_is_refused_in_a_sentence(change, sentence):
    with pytest.raises(ConfigError) as error:
        expand(matrix(**change))
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    "objectives", [{"losses": ["triplet"]}, {"ensembles": [{"name": "sum", "members": ["triplet"]}]}]
)
def test_a_loss_that_compares_images_of_a_class_is_refused_one_image_a_class(objectives):
    lone = {"losses": ["normalized_softmax"], **objectives, "recipe": {"images_per_class": 1}}
    with pytest.raises(
        ConfigError, match=r"triplet compares images of a class; add --set recipe\.images_per_class=2, or more"
    ):
        expand(matrix(**lone))
    expand(matrix(**{**lone, "recipe": {"images_per_class": 1, "epochs": 0}}))


def test_all_problems_are_told_at_once():
    with pytest.raises(ConfigError) as error:
        expand(matrix(losses=["tripet", "contrastiv"], datasets=["glyph"]))
    assert len(str(error.value).splitlines()) == 3


def test_keys_are_unique_and_fit_a_file_name():
    jobs = expand(
        matrix(seeds=3, backbones=["conv4", "timm/resnet18"], ensembles=[{"name": "sum", "members": ["triplet"]}])
    )
    keys = [job.key for job in jobs]
    assert len(set(keys)) == len(keys) == 18
    assert all(character.isalnum() or character in "-_." for character in itertools.chain(*keys))


def test_a_model_ensemble_of_seeds_takes_blocks_that_share_no_model():
    fused = [{"name": "concatenate", "members": ["triplet", "contrastive"], "seeds": 2}]
    cells = [job for job in expand(matrix(seeds=5, model_ensembles=fused)) if job.kind == "model_ensemble"]
    assert [job.seed for job in cells] == [0, 2]
    members = [[(member.objective.name, member.seed) for member in job.members] for job in cells]
    assert members[1] == [("triplet", 2), ("triplet", 3), ("contrastive", 2), ("contrastive", 3)]
    assert cells[0].objective.label == "concatenate[triplet, contrastive](seeds=2)"
    assert not {member.key for member in cells[0].members} & {member.key for member in cells[1].members}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model_ensembles": [{"name": "concatenate", "members": ["triplet"], "seeds": 2}]}, "fuses 2 seeds"),
        ({"losses": [{"name": "triplet", "seeds": 2}]}, "seeds = 2 belongs to a model ensemble"),
        (
            {"seeds": 2, "model_ensembles": [{"name": "concatenate", "members": [{"name": "triplet", "seeds": 2}]}]},
            "name the member 'triplet' alone",
        ),
    ],
)
def test_seeds_where_they_make_no_sense_are_refused(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        expand(matrix(**changes))
