import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from bench.job.network import embedder_for
from bench.job.optimizer import Rates, optimizer
from bench.job.stages import stages
from bench.job.train import Training, train
from bench.matrix.expand import expand
from bench.matrix.file import Matrix
from losses.pair import contrastive
from losses.shape import Shape


def model(size=32, channels=3, dim=8, **table):
    matrix = {"datasets": ["glyphs"], "backbones": [table], "losses": ["triplet"]}
    backbone = expand(Matrix.model_validate(matrix))[0].backbone
    torch.manual_seed(0)
    return embedder_for(backbone, torch.rand(8, channels, size, size), dim)


def frozen(network):
    """Names of the trunk's tensors that do not learn."""
    return {name for name, tensor in network.trunk.named_parameters() if not tensor.requires_grad}


@pytest.mark.parametrize(
    ("table", "count", "first"),
    [
        ({"name": "conv4", "width": 4}, 4, ("0.",)),
        ({"name": "conv4", "width": 4, "levels": 2}, 4, ("0.",)),
        ({"name": "timm/resnet10t"}, 4, ("conv1.", "bn1.", "layer1.")),
        ({"name": "timm/resnet10t", "levels": 3}, 4, ("plain.conv1.", "plain.bn1.", "plain.layer1.")),
        ({"name": "timm/test_efficientnet"}, 5, ("conv_stem.", "bn1.", "blocks.0.")),
        ({"name": "timm/test_vit"}, 6, ("cls_token", "pos_embed", "patch_embed.", "blocks.0.")),
        ({"name": "timm/test_convnext"}, 4, ("stem.", "stages.0.")),
        ({"name": "timm/test_mambaout"}, 4, ("plain.stem.", "plain.stages.0.")),
    ],
    ids=str,
)
def test_the_stem_belongs_to_the_first_stage_and_what_is_left_to_the_last(table, count, first):
    network = model(**table, freeze_stages=1)
    names = {name for name, _ in network.trunk.named_parameters()}
    assert frozen(network) == {name for name in names if name.startswith(first)}
    found = stages(network.trunk)
    assert len(found) == count
    assert sorted(id(tensor) for stage in found for tensor in stage) == sorted(map(id, network.trunk.parameters()))
    if count > 2:
        assert frozen(network) < frozen(model(**table, freeze_stages=2))


TRUNKS = [
    {"name": "conv4", "width": 6},
    {"name": "conv4", "width": 6, "levels": 3, "pooling": "gem"},
    {"name": "timm/test_efficientnet", "pooling": "gem", "norm": "batch"},
    {"name": "timm/test_efficientnet", "levels": 3},
    {"name": "timm/test_vit", "pooling": "token"},
]


def steps(network, learned, *, count=3, precision=torch.float32, still=()):
    """Train some steps at given tensors of the trunk alone, with some parts of it in evaluation mode."""
    torch.manual_seed(1)
    objective = contrastive(Shape(network.dim, 4))
    adam = optimizer(network, objective, Rates(1e-2, 1e-2, 1e-2), weight_decay=1e-2)
    adam.param_groups[0]["params"] = [tensor for tensor in adam.param_groups[0]["params"] if id(tensor) in learned]
    batches = [(torch.rand(8, 3, 32, 32), torch.arange(8) // 2) for _ in range(count)]

    def feed():
        for images, labels in batches:
            for part in still:
                part.eval()
            yield images, labels

    list(train(Training(network, objective, adam, LambdaLR(adam, lambda _: 1.0), {}), [feed()], precision=precision))
    return network.eval()(batches[0][0]).detach()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("table", TRUNKS, ids=str)
def test_frozen_stages_give_the_bits_of_tensors_that_no_optimizer_knows(table, precision):
    ours = model(**table, freeze_stages=2)
    still = frozen(ours)
    found = steps(ours, {id(tensor) for tensor in ours.trunk.parameters()}, precision=precision)
    plain = model(**table)
    names = dict(plain.trunk.named_parameters())
    norms = [
        layer for name, layer in plain.trunk.named_modules() if f"{name}.running_mean" in _statistics(plain, still)
    ]
    learned = {id(tensor) for name, tensor in names.items() if name not in still}
    expected = steps(plain, learned, precision=precision, still=norms)
    assert torch.equal(found, expected)
    untouched = model(**table, freeze_stages=2)
    state = untouched.trunk.state_dict()
    kept = still | _statistics(untouched, still)
    assert all(torch.equal(tensor, state[name]) for name, tensor in ours.trunk.state_dict().items() if name in kept)
    assert not torch.equal(found, untouched.eval()(torch.rand(8, 3, 32, 32)))


def _statistics(network, tensors):
    """Names of the running means of batch norms whose weights are among the tensors."""
    norms = {
        name for name, layer in network.trunk.named_modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)
    }
    return {f"{name}.running_mean" for name in norms if f"{name}.weight" in tensors}


@pytest.mark.parametrize("name", ["timm/test_efficientnet", "timm/test_vit"])
def test_no_graph_of_frozen_stages_is_kept(name):
    held = []
    for count in (0, 3):
        network = model(name=name, freeze_stages=count).train()
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: held[-1].append(tensor.numel()), lambda _: None):
            held.append([])
            network(torch.rand(4, 3, 32, 32))
    assert sum(held[1]) < 0.7 * sum(held[0])


def test_frozen_stages_are_in_evaluation_mode_and_the_others_learn():
    network = model(name="timm/test_efficientnet", freeze_stages=2).train()
    blocks = list(network.trunk.blocks)
    assert not any(part.training for block in [network.trunk.bn1, *blocks[:2]] for part in block.modules())
    assert all(part.training for block in blocks[2:] for part in block.modules())
    network(torch.rand(4, 3, 32, 32)).sum().backward()
    learned = {name for name, tensor in network.trunk.named_parameters() if tensor.grad is not None}
    assert learned == {name for name, _ in network.trunk.named_parameters()} - frozen(network)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"name": "conv4", "freeze_stages": 4}, "has 4 stages, .* set freeze_stages = 3 or less, or frozen = true"),
        ({"name": "conv4", "freeze_stages": 9}, "has 4 stages, and freeze_stages = 9 leaves none"),
        ({"name": "timm/test_efficientnet", "freeze_stages": 5}, "has 5 stages, .* set freeze_stages = 4 or less"),
        ({"name": "conv4", "freeze_stages": -1}, "freeze_stages = -1 is not possible"),
        ({"name": "conv4", "freeze_stages": True}, "freeze_stages = True is not possible"),
    ],
    ids=str,
)
def test_stages_that_cannot_be_frozen_are_a_sentence(table, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        model(**table)
    assert "\n" not in str(error.value)


def test_a_trunk_that_names_no_stages_is_a_sentence():
    with pytest.raises(ValueError, match="does not say what its stages are: set freeze_stages = 0"):
        stages(nn.Linear(2, 2))
