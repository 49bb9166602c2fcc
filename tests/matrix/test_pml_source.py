"""What is read from the source of pytorch-metric-learning, against the package itself."""

import inspect
import math
import subprocess
import sys
from importlib import import_module

import pytest
from torch import nn

from bench.matrix.catalogue import PML, pml_entries
from bench.matrix.pml_arguments import FOLDERS, INITIALIZERS, UNSETTABLE
from bench.matrix.pml_source import Made, made

pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # of its own code

EVERY = [(group, name) for group in FOLDERS for name in made(group)]
BASES = {
    "BaseLossWrapper", "BaseMetricLossFunction", "EmbeddingRegularizerMixin", "GenericPairLoss",
    "WeightRegularizerMixin", "BaseMiner", "BaseDistance", "BatchedDistance", "BaseReducer", "BaseRegularizer",
}  # fmt: skip
SIZES = {"num_classes": 5, "embedding_size": 8, "descriptors_dim": 8, "l": 8}
NEEDED = {
    "RankedListLoss": {"margin": 0.4, "Tn": 1.0},
    "ThresholdReducer": {"low": 0.0},
    "ClassWeightedReducer": {"weights": [1.0] * 5},
    "SparseCentersRegularizer": {"centers_per_class": 2},
}
HELD = {"MultipleLosses", "MultipleReducers", "CrossBatchMemory", "SelfSupervisedLoss"}
"""They hold objects of the same kind: tests of training build them."""


def of_package(group: str, name: str) -> type[nn.Module]:
    found: type[nn.Module] = getattr(import_module(f"pytorch_metric_learning.{group}"), name)
    return found


@pytest.mark.parametrize("group", FOLDERS)
def test_every_public_class_that_can_be_built_is_there(group):
    module = import_module(f"pytorch_metric_learning.{group}")
    public = {name for name, value in vars(module).items() if inspect.isclass(value)}
    assert made(group).keys() == public - BASES


@pytest.mark.parametrize("group", FOLDERS)
def test_an_entry_leads_to_the_class_of_the_package(group):
    assert {name: entry.function() for name, entry in pml_entries(group).items()} == {
        name: of_package(group, name.removeprefix(PML)) for name in pml_entries(group)
    }


def built(whole: Made, **settings: object) -> nn.Module:
    given = {name: SIZES[name] for name in whole.given}
    return of_package(whole.group, whole.name)(**given, **NEEDED.get(whole.name, {}), **settings)


def part(default: object) -> object:
    """A default as it is passed: a part as an object."""
    if not isinstance(default, dict):
        return default
    group = "distances" if default["name"] in made("distances") else "reducers"
    if default["name"] in INITIALIZERS:
        return lambda tensor: getattr(nn.init, default["name"])(tensor, **without_name(default))
    return of_package(group, default["name"])(**without_name(default))


def without_name(table: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in table.items() if key != "name"}


@pytest.mark.parametrize(("group", "name"), [each for each in EVERY if each[1] not in HELD])
def test_every_argument_is_accepted_and_its_default_changes_nothing(group, name):
    whole = made(group)[name]
    own = {each: a for each, a in whole.arguments.items() if each not in NEEDED.get(name, {}) and not a.required}
    if name == "VICRegLoss":
        own = {each: a for each, a in own.items() if each not in ("distance", "embedding_regularizer")}
    if name == "MarginLoss":
        own.pop("num_classes")  # here it is whether there is one beta for each class
    plain, told = built(whole), built(whole, **{each: part(a.default) for each, a in own.items()})
    assert numbers(told) == numbers(plain)


def numbers(module: nn.Module) -> dict[str, dict[str, object]]:
    """The kind and the plain attributes of every part."""
    return {
        name: {"kind": type(inside).__name__, **{k: v for k, v in vars(inside).items() if isinstance(v, (int, float))}}
        for name, inside in module.named_modules()
    }


@pytest.mark.parametrize(("group", "name"), EVERY)
def test_every_argument_that_a_class_names_is_listed_or_known_to_be_left_out(group, name):
    whole = made(group)[name]
    signature = inspect.signature(of_package(group, name).__init__).parameters.values()
    own = {p.name for p in signature if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} - {"self"}
    assert own <= whole.arguments.keys() | {*whole.given} | UNSETTABLE


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initializers_are_those_of_torch(name):
    signature = inspect.signature(getattr(nn.init, name)).parameters
    kept = {each: p.default for each, p in signature.items() if each not in ("tensor", "generator")}
    assert kept == INITIALIZERS[name]


def test_what_the_losses_say_of_themselves():
    losses = made("losses")
    assert losses["SubCenterArcFaceLoss"].given == ("num_classes", "embedding_size")
    assert losses["P2SGradLoss"].given == ("descriptors_dim", "num_classes")
    assert losses["SoftTripleLoss"].arguments["weight_init_func"].default == {
        "name": "kaiming_uniform_",
        "a": math.sqrt(5),
    }
    assert losses["ArcFaceLoss"].arguments["margin"].default == 28.6
    assert "pos_margin" in losses["SignalToNoiseRatioContrastiveLoss"].arguments
    assert "normalize_embeddings" not in made("distances")["CosineSimilarity"].arguments
    assert not made("miners")["BatchHardMiner"].arguments.keys() & {"pos_strategy", "neg_strategy"}


def test_losses_that_look_at_no_miner_are_known():
    unread = {name for name, whole in made("losses").items() if not whole.mines}
    assert unread == {
        "CrossBatchMemory", "InstanceLoss", "MultipleLosses", "P2SGradLoss", "PNPLoss", "RankedListLoss",
        "SelfSupervisedLoss", "VICRegLoss",
    }  # fmt: skip


def test_reading_imports_neither_torch_nor_the_package():
    code = (
        "import sys; from bench.matrix.expand import expand; from bench.matrix.file import Matrix; "
        "expand(Matrix(datasets=['glyphs'], backbones=['conv4'], losses=[{'name': 'pml/TripletMarginLoss', "
        "'miner': 'TripletMarginMiner'}])); print({'torch', 'pytorch_metric_learning'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
