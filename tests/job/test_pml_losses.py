"""Losses of pytorch-metric-learning trained by the harness: all of them, with its parts, beside our own."""

import json
import random
from itertools import product

import numpy as np
import pytest
import torch
from pytorch_metric_learning import distances, losses, miners, reducers, regularizers
from support.jobs import go, tiny
from support.sample_batches import CLASSES, DIM, batch
from torch import Tensor

from bench import datasets
from bench.datasets.held_out import folds
from bench.job.cannot_build import refusals
from bench.job.checkpoint import packed, unpacked
from bench.job.fit import build
from bench.job.optimizer import Rates, optimizer
from bench.job.pml_losses import PmlLoss, pml_loss
from bench.matrix.catalogue import PML, pml_entries
from bench.matrix.pml_parts import offered
from losses.shape import Shape

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    # Of its own code.
    pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning"),
]

SHAPE = Shape(DIM, CLASSES, None, 4)
NEEDED = {
    "pml/RankedListLoss": {"margin": 0.4, "Tn": 1},
    "pml/CrossBatchMemory": {"loss": "ContrastiveLoss", "memory_size": 40},
}
REFUSED = {"pml/MultipleLosses", "pml/SelfSupervisedLoss", "pml/VICRegLoss", "pml/ManifoldLoss"}
LOSSES = [{"name": entry.name, **NEEDED.get(entry.name, {})} for entry in offered() if entry.kind == "losses"]
MINERS = [entry.name for entry in offered() if entry.kind == "miners"]

every = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss["name"])


def made(loss: object, shape: Shape = SHAPE, *, seed: int = 7) -> PmlLoss:
    """The objective of an entry of a matrix."""
    (job,) = tiny(losses=[loss])
    torch.manual_seed(seed)
    module = pml_loss(job.objective.name.removeprefix(PML), shape, **job.objective.parameters)
    assert isinstance(module, PmlLoss)
    return module


def grouped(seed: int = 0) -> tuple[Tensor, Tensor]:
    """A batch as the harness draws it: the images of a class one after another."""
    embeddings, labels = batch(seed=seed, dtype=torch.float32)
    order = labels.argsort()
    return embeddings[order], labels[order]


def step(module: PmlLoss, seed: int) -> tuple[Tensor, Tensor]:
    """Value and gradient of the embeddings."""
    embeddings, labels = grouped(seed)
    embeddings.requires_grad_()
    value = module(embeddings, labels)
    value.backward()
    assert embeddings.grad is not None
    return value.detach(), embeddings.grad


def test_all_that_trains_is_offered_and_the_rest_is_known():
    assert {loss["name"] for loss in LOSSES} == pml_entries("losses").keys() - REFUSED


def test_the_harness_builds_every_loss():
    assert refusals(tiny(losses=LOSSES), None) == []


@every
def test_every_loss_learns_batch_after_batch(loss):
    module = made(loss)
    for seed in range(3):
        module.zero_grad()
        value, gradient = step(module, seed)
        assert value.shape == ()
        assert torch.isfinite(value)
        assert gradient.abs().sum() > 0
        assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in module.parameters())


@every
def test_embeddings_that_are_no_numbers_give_a_loss_that_is_none(loss):
    embeddings, labels = grouped()
    assert made(loss)(embeddings * torch.nan, labels).isnan()
    embeddings[3, 2] = torch.nan
    assert made(loss)(embeddings, labels).isnan()


def test_the_value_is_that_of_the_objects_themselves():
    found = made({
        "name": "pml/TripletMarginLoss", "margin": 0.3, "swap": True,
        "miner": {"name": "TripletMarginMiner", "margin": 0.4, "type_of_triplets": "semihard"},
        "distance": {"name": "LpDistance", "power": 2},
        "reducer": {"name": "ThresholdReducer", "low": 0.1},
        "embedding_regularizer": "LpRegularizer", "embedding_reg_weight": 0.5,
    })  # fmt: skip
    theirs = losses.TripletMarginLoss(
        margin=0.3,
        swap=True,
        distance=distances.LpDistance(power=2),
        reducer=reducers.ThresholdReducer(low=0.1),
        embedding_regularizer=regularizers.LpRegularizer(),
        embedding_reg_weight=0.5,
    )
    embeddings, labels = grouped()
    mined = miners.TripletMarginMiner(margin=0.4, type_of_triplets="semihard")(embeddings, labels)
    assert torch.equal(found(embeddings, labels), theirs(embeddings, labels, mined))


def test_weights_are_drawn_as_asked():
    drawn = made({"name": "pml/ProxyAnchorLoss", "weight_init_func": {"name": "uniform_", "a": 5, "b": 6}})
    (proxies,) = drawn.parameters()
    assert proxies.shape == (CLASSES, DIM)
    assert 5 <= proxies.min() < proxies.max() <= 6


@pytest.mark.parametrize(
    ("options", "count"), [({"learn_beta": True}, 1), ({"learn_beta": True, "num_classes": True}, CLASSES), ({}, 0)]
)
def test_the_boundaries_of_the_margin_loss_train(options, count):
    module = made({"name": "pml/MarginLoss", **options})
    assert sum(tensor.numel() for tensor in module.parameters()) == count


def test_what_trains_is_in_the_optimizer_at_the_losses_rate():
    (job,) = tiny(losses=[{"name": "pml/SoftTripleLoss", "centers_per_class": 2}])
    split = datasets.load(job.dataset, None)
    (fold,) = folds(split.train.labels, job.recipe.validation, seed=job.seed)
    model, objective = build(job, split, fold, seed=0, device=torch.device("cpu"))
    group = optimizer(model, objective, Rates(0.1, 0.2, 0.3), weight_decay=0).param_groups[-1]
    assert group["lr"] == 0.3
    assert [tensor.shape for tensor in group["params"]] == [(16, 12 * 2)]


def other_generators() -> tuple[list[int], object]:
    """The states of numpy's and of Python's own generator."""
    return np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002


RANDOM = ["DistanceWeightedMiner", "UniformHistogramMiner"]


@pytest.mark.parametrize("miner", MINERS)
def test_miners_draw_from_torchs_generator_alone(miner):
    before = other_generators()
    module = made({"name": "pml/ContrastiveLoss", "miner": miner})
    values = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        values.append(step(module, 0))
    assert torch.equal(values[0][1], values[1][1])
    assert torch.equal(values[0][1], values[2][1]) == (miner not in RANDOM)
    assert other_generators() == before


@every
def test_losses_draw_from_no_other_generator(loss):
    module, before, torchs = made(loss), other_generators(), torch.get_rng_state()
    step(module, 0)
    assert torch.equal(torch.get_rng_state(), torchs)
    assert other_generators() == before


def test_to_try_a_loss_moves_no_generator():
    torch.manual_seed(3)
    expected = torch.randn(2)
    made({"name": "pml/ContrastiveLoss", "miner": "DistanceWeightedMiner"}, seed=3)
    assert torch.equal(torch.randn(2), expected)


STATEFUL = [
    {"name": "pml/CrossBatchMemory", "loss": "ContrastiveLoss", "memory_size": 60},
    {"name": "pml/CrossBatchMemory", "loss": "TripletMarginLoss", "memory_size": 30, "miner": "HDCMiner"},
    "pml/DynamicSoftMarginLoss",
]
"""Those whose value depends on the batches before."""
MINED = [{"name": "pml/ContrastiveLoss", "miner": miner} for miner in MINERS]


@pytest.mark.parametrize("loss", [*STATEFUL, *LOSSES, *MINED], ids=str)
def test_a_loss_continued_from_its_state_gives_the_same_bits(loss):
    straight, again, tensors = made(loss), made(loss, seed=8), {}
    for seed in range(4):
        step(straight, seed)
    fresh = made(loss)(*grouped(4))
    written = json.dumps(packed(straight.state_dict(), tensors))
    again.load_state_dict(unpacked(json.loads(written), tensors))
    values = []
    for module in (straight, again):
        torch.manual_seed(1)
        values.append(step(module, 4))
    assert all(map(torch.equal, *values))
    assert loss not in STATEFUL or not torch.equal(fresh, values[0][0])


def test_a_memory_is_that_of_the_package():
    found = made({"name": "pml/CrossBatchMemory", "loss": "NTXentLoss", "memory_size": 50, "miner": "HDCMiner"})
    theirs = losses.CrossBatchMemory(losses.NTXentLoss(), DIM, memory_size=50, miner=miners.HDCMiner())
    for seed in range(4):
        assert torch.equal(found(*grouped(seed)), theirs(*grouped(seed)))


def test_moved_to_another_type_a_loss_takes_its_plain_tensors_along():
    module = made({"name": "pml/MarginLoss", "num_classes": True}).double()
    value = module(*batch(dtype=torch.float64))
    assert value.dtype == module.loss.beta.dtype == torch.float64


LP_INVERTED = {"name": "LpDistance", "is_inverted": True}
TWO_WEIGHTS = {"name": "ClassWeightedReducer", "weights": [1, 2]}
MISNAMED = {"name": "MultipleReducers", "reducers": {"pos_los": "SumReducer"}}
TOO_FEW = {"name": "SparseCentersRegularizer", "centers_per_class": 3}


def pml(name: str, **options: object) -> dict[str, object]:
    return {"name": f"pml/{name}", **options}


UNFIT = [
    (pml("TripletMarginLoss", reducer="PerAnchorReducer"), "Triplet reduction not supported"),
    (pml("TripletMarginLoss", reducer="ThresholdReducer"), "At least one of low or high"),
    (pml("TripletMarginLoss", distance=LP_INVERTED), "assert not self.is_inverted"),
    (pml("ContrastiveLoss", reducer=TWO_WEIGHTS), "2 weights for 12"),
    (pml("ContrastiveLoss", reducer=MISNAMED), "did you mean 'pos_loss'?"),
    (
        pml("ContrastiveLoss", miner={"name": "BatchEasyHardMiner", "pos_strategy": "all"}),
        "cannot be used in combination",
    ),
    (pml("ArcFaceLoss", distance="LpDistance"), "requires the distance metric to be CosineSimilarity"),
    (pml("HistogramLoss", n_bins=10, delta=0.5), "delta and n_bins must satisfy"),
    (pml("SoftTripleLoss", weight_regularizer=TOO_FEW), "cannot learn"),
    (
        pml("ProxyAnchorLoss", weight_init_func={"name": "kaiming_normal_", "nonlinearity": "x"}),
        "Unsupported nonlinearity",
    ),
]


@pytest.mark.parametrize(("loss", "sentence"), UNFIT, ids=str)
def test_parts_that_do_not_fit_are_refused_in_one_sentence_before_training(loss, sentence):
    (said,) = refusals(tiny(losses=[loss]), None)
    assert sentence in said
    assert "\n" not in said


def test_a_member_that_cannot_be_built_names_itself():
    loss = {"name": "pml/ArcFaceLoss", "distance": "LpDistance", "label": "wrong"}
    (said,) = refusals(tiny(losses=[], ensembles=[{"name": "sum", "members": ["triplet", loss]}]), None)
    assert "member 'wrong': pytorch-metric-learning cannot build ArcFaceLoss" in said


@pytest.mark.parametrize("ensemble", ["sum", "slices", "weighted", "gradient_norm", "conflict_free"])
def test_a_member_of_an_ensemble(tmp_path, ensemble):
    members = ["triplet", {"name": "pml/ProxyAnchorLoss", "label": "theirs"}]
    (job,) = tiny(losses=[], ensembles=[{"name": ensemble, "members": members}])
    result = go(job, tmp_path)
    assert result.row.status == "done"
    assert {entry.member for entry in result.members} == {"triplet", "theirs"}


def test_the_same_job_gives_the_same_bits(tmp_path):
    loss = {"name": "pml/MarginLoss", "learn_beta": True, "miner": "DistanceWeightedMiner"}
    (one,), (other,) = (tiny(losses=[loss]) for _ in range(2))
    first, second = go(one, tmp_path), go(other, tmp_path)
    assert first.row.status == "done"
    assert np.array_equal(first.embeddings, second.embeddings)


def test_every_miner_goes_with_the_losses_that_look_at_one():
    jobs = [
        {"name": name, "miner": miner, "label": f"{name} {miner}"}
        for name, miner in product(("pml/ContrastiveLoss", "pml/TripletMarginLoss", "pml/ArcFaceLoss"), MINERS)
    ]
    assert refusals(tiny(losses=jobs), None) == []
