"""Losses of pytorch-metric-learning in a matrix: resolved, labelled, identified, and refused in one sentence."""

import math

import pytest
from support.jobs import tiny

from bench.matrix.job import ConfigError, Job, Part

MS = "pml/MultiSimilarityLoss"
TRIPLET = "pml/TripletMarginLoss"
MEMORY = "pml/CrossBatchMemory"


SUMMED = {"neg_loss": "SumReducer"}
KAIMING = {"name": "kaiming_normal_", "mode": "fan_out"}


def job(loss: object, **changes: object) -> Job:
    (found,) = tiny(losses=[loss], **changes)
    return found


def test_every_parameter_is_stored_those_of_parts_too():
    found = job({"name": MS, "alpha": 3, "miner": {"name": "MultiSimilarityMiner", "epsilon": 0.2}}).objective
    cosine = {"name": "CosineSimilarity", "p": 2.0, "power": 1.0}
    assert found.parameters == {
        "alpha": 3.0, "beta": 50.0, "base": 0.5, "embedding_regularizer": None, "embedding_reg_weight": 1.0,
        "reducer": {"name": "MeanReducer"}, "distance": cosine,
        "miner": {"name": "MultiSimilarityMiner", "epsilon": 0.2, "distance": cosine},
    }  # fmt: skip
    assert found.label == "pml/MultiSimilarityLoss(alpha=3.0, miner=MultiSimilarityMiner(epsilon=0.2))"


@pytest.mark.parametrize(
    ("written", "label"),
    [
        (TRIPLET, TRIPLET),
        ({"name": TRIPLET, "reducer": "MeanReducer"}, f"{TRIPLET}(reducer=MeanReducer)"),
        ({"name": TRIPLET, "distance": {"name": "LpDistance", "p": 2}}, TRIPLET),
        ({"name": "pml/RankedListLoss", "margin": 1, "Tn": 2}, "pml/RankedListLoss(margin=1.0, Tn=2.0)"),
        ({"name": MEMORY, "loss": "pml/NTXentLoss"}, f"{MEMORY}(loss=NTXentLoss)"),
        (
            {"name": "pml/ContrastiveLoss", "reducer": {"name": "MultipleReducers", "reducers": SUMMED}},
            "pml/ContrastiveLoss(reducer=MultipleReducers(reducers={neg_loss=SumReducer}))",
        ),
    ],
)  # fmt: skip
def test_a_label_says_what_is_not_usual(written, label):
    assert job(written).objective.label == label


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (TRIPLET, {"name": TRIPLET, "margin": 0.05, "triplets_per_anchor": "all", "reducer": "AvgNonZeroReducer"}),
        (MS, {"name": MS, "alpha": 2.0, "distance": "CosineSimilarity"}),
        ("pml/ProxyAnchorLoss", {"name": "pml/ProxyAnchorLoss", "weight_init_func": KAIMING}),
    ],
)  # fmt: skip
def test_a_default_that_is_written_down_is_the_same_job(one, other):
    assert job(one).key == job(other).key


def test_numbers_without_end_are_kept_in_a_stored_job():
    found = job({"name": TRIPLET, "distance": {"name": "LpDistance", "p": math.inf}})
    assert Job.stored(found.model_dump_json()).key == found.key
    assert found.objective.label == "pml/TripletMarginLoss(distance=LpDistance(p=inf))"


def test_other_parameters_of_parts_are_other_jobs():
    distances = [
        "LpDistance",
        {"name": "LpDistance", "power": 2},
        {"name": "LpDistance", "normalize_embeddings": False},
    ]
    assert len({job({"name": TRIPLET, "distance": distance}).key for distance in distances}) == 3


def test_the_version_of_the_package_is_part_of_what_a_loss_is(monkeypatch):
    found = job(TRIPLET)
    assert Job.stored(found.model_dump_json()).key == found.key
    monkeypatch.setattr("bench.matrix.expand.pml_version", lambda: "0.1")
    (member,) = tiny(losses=[], ensembles=[{"name": "sum", "members": [TRIPLET]}])[0].objective.members
    other = job(TRIPLET)
    assert other.key != found.key
    assert Job.stored(found.model_dump_json()).key == found.key  # a stored row keeps its key, whatever is installed
    assert member.contents == {"pytorch_metric_learning": "0.1"}
    assert Part(name="triplet").contents == {} == job("triplet").objective.contents


MINED = {"name": "pml/ContrastiveLoss", "miner": "HDCMiner"}


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        ("pml/Nope", "there is no loss 'pml/Nope' in pytorch-metric-learning"),
        ("pml/TripletMarginLos", "did you mean 'pml/TripletMarginLoss'?"),
        ("PML/TripletMarginLoss", "did you mean 'pml/TripletMarginLoss'?"),
        ("TripletMarginLoss", "there is no loss 'TripletMarginLoss'; did you mean 'pml/TripletMarginLoss'?"),
        ("pml/GenericPairLoss", "there is no loss"),
        ({"name": TRIPLET, "margn": 1}, "has no parameter 'margn'; did you mean 'margin'?"),
        ({"name": TRIPLET, "margin": "x"}, "margin = 'x' is not possible; it should be a valid number"),
        ({"name": TRIPLET, "margin": True}, "margin = True is not possible"),
        ({"name": TRIPLET, "margin": math.nan}, "margin = nan is not possible; it should be a number"),
        ({"name": TRIPLET, "swap": 1}, "swap = 1 is not possible"),
        ({"name": TRIPLET, "miner": "CosineSimilarity"}, "there is no miner 'CosineSimilarity'"),
        ({"name": TRIPLET, "miner": "TripletMarginMinr"}, "did you mean 'TripletMarginMiner'?"),
        ({"name": TRIPLET, "miner": {"name": "TripletMarginMiner", "margn": 1}}, "TripletMarginMiner has no parameter"),
        ({"name": TRIPLET, "miner": {"name": "TripletMarginMiner", "type_of_triplets": "smihard"}}, "'semihard'"),
        ({"name": TRIPLET, "miner": "EmbeddingsAlreadyPackagedAsTriplets"}, "needs batches made of triplets"),
        ({"name": TRIPLET, "distance": 3}, "distance = 3 is not possible; write the name of a distance, or a table"),
        ({"name": TRIPLET, "distance": {"p": 2}}, "write the name of a distance, or a table with a name"),
        ({"name": TRIPLET, "reducer": "DoNothingReducer"}, "gives no number to learn from"),
        ({"name": TRIPLET, "collect_stats": True}, "has no parameter 'collect_stats'"),
        ({"name": TRIPLET, "members": ["triplet"]}, "takes no members"),
        ({"name": "pml/PNPLoss", "miner": "TripletMarginMiner"}, "takes no miner"),
        ({"name": "pml/PNPLoss", "variant": "X"}, "'Ds', 'Dq', 'Iu', 'Ib' or 'O'"),
        ({"name": "pml/ArcFaceLoss", "num_classes": 7}, "num_classes comes from the data and the recipe; remove it"),
        ({"name": "pml/ArcFaceLoss", "weight_init_func": "xavier"}, "there is no initializer 'xavier'"),
        ({"name": "pml/MarginLoss", "triplets_per_anchor": "al"}, "triplets_per_anchor = 'al' is not possible"),
        ({"name": "pml/FastAPLoss", "num_bins": 2.5}, "num_bins = 2.5 is not possible"),
        ("pml/RankedListLoss", "needs the parameter 'margin'"),
        ("pml/MultipleLosses", 'name "sum" with members'),
        ("pml/SelfSupervisedLoss", "compares two views of each image"),
        ("pml/VICRegLoss", "compares two views of each image and takes no labels"),
        ("pml/ManifoldLoss", "takes no labels"),
        (MEMORY, "needs the parameter 'loss'"),
        ({"name": MEMORY, "loss": "ProxyAnchorLoss"}, "cannot hold ProxyAnchorLoss"),
        ({"name": MEMORY, "loss": MINED}, "the miner belongs to pml/CrossBatchMemory"),
        ({"name": MEMORY, "loss": "ContrastiveLoss", "memory_size": 23}, "24 images; set memory_size = 24 or more"),
    ],
    ids=str,
)  # fmt: skip
def test_a_mistake_is_one_sentence_before_anything_trains(loss, sentence):
    with pytest.raises(ConfigError) as error:
        job(loss)
    (said,) = error.value.args
    assert sentence in said
    assert "\n" not in said


def test_a_mistake_of_a_member_is_found_too():
    with pytest.raises(ConfigError, match="did you mean 'margin'"):
        tiny(losses=[], ensembles=[{"name": "sum", "members": ["triplet", {"name": TRIPLET, "margn": 1}]}])
    memory = {"name": MEMORY, "loss": "ContrastiveLoss", "memory_size": 8}
    with pytest.raises(ConfigError, match="set memory_size = 24"):
        tiny(losses=[], ensembles=[{"name": "sum", "members": ["triplet", memory]}])


def test_what_compares_images_of_a_class_needs_two_of_each():
    with pytest.raises(ConfigError, match="pml/TripletMarginLoss compares images of a class"):
        job(TRIPLET, recipe={"images_per_class": 1})
    assert job("pml/ProxyAnchorLoss", recipe={"images_per_class": 1}).recipe.images_per_class == 1
