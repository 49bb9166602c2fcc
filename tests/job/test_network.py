import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from bench.job.network import embedder_for
from bench.matrix.expand import expand
from bench.matrix.file import Matrix
from bench.matrix.job import Part
from losses import ensembles
from losses.ranked import ranked_list
from losses.shape import Shape


def backbone(**table) -> Part:
    matrix = {"datasets": ["glyphs"], "backbones": [table], "losses": ["triplet"]}
    return expand(Matrix.model_validate(matrix))[0].backbone


def model(dim=16, channels=1, size=32, **table):
    torch.manual_seed(0)
    return embedder_for(backbone(**table), torch.rand(8, channels, size, size), dim)


TRUNKS = [("conv4", 32), ("timm/resnet10t", 32), ("timm/test_vit", 160)]
CASES = [
    (*trunk, pooling, channels) for trunk in TRUNKS for pooling in ("average", "max", "gem") for channels in (1, 3)
]


@pytest.mark.parametrize(("name", "size", "pooling", "channels"), [*CASES, ("timm/swin_s3_tiny_224", 224, "max", 1)])
def test_every_kind_of_trunk_gives_embeddings(name, size, pooling, channels):
    network = model(name=name, pooling=pooling, channels=channels, size=size)
    embeddings = network(torch.rand(2, channels, size, size))
    assert embeddings.shape == (2, 16)
    embeddings.sum().backward()
    assert all(tensor.grad is not None for tensor in network.head.parameters())


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_features_can_be_normalised_before_the_head(norm):
    network = model(name="conv4", norm=norm, head="none", width=24).train()
    features = network(torch.rand(64, 1, 32, 32))
    axis = 0 if norm == "batch" else 1
    assert torch.allclose(features.mean(axis), torch.zeros(1), atol=1e-4)
    assert not list(network.head.parameters())


def test_without_a_head_the_embedding_is_the_trunks():
    network = model(name="conv4", head="none", width=24)
    assert network.dim == network(torch.rand(2, 1, 32, 32)).shape[1] == 24
    assert not list(network.head.parameters())


def test_poolings_agree_with_their_formulas():
    maps = torch.rand(2, 5, 3, 3)
    for pooling, expected in [
        ("average", maps.mean((2, 3))),
        ("max", maps.amax((2, 3))),
        ("flatten", maps.flatten(1)),
        ("gem", maps.pow(3).mean((2, 3)).pow(1 / 3)),
    ]:
        assert torch.allclose(model(name="conv4", pooling=pooling).pool(maps), expected, atol=1e-5)


def test_the_same_seed_gives_the_same_trunk_whatever_the_head():
    one, two = model(name="conv4", dim=8), model(name="conv4", dim=64)
    assert all(torch.equal(a, b) for a, b in zip(one.trunk.parameters(), two.trunk.parameters(), strict=True))


def test_conv4_is_the_one_of_the_literature():
    """Pooling before the ReLU gives what the order of the papers gives."""
    network = model(name="conv4").trunk.eval()
    images = torch.rand(4, 1, 32, 32)
    expected = images
    for convolution, norm, _, _ in network:
        expected = nn.functional.max_pool2d(torch.relu(norm(convolution(expected))), 2)
    assert torch.equal(network(images), expected)
    assert sum(tensor.numel() for tensor in network.parameters()) == 64 * 9 + 3 * 64 * 64 * 9 + 4 * 2 * 64


def test_images_are_normalised_with_the_trunks_statistics_or_the_datas():
    torch.manual_seed(0)
    data = torch.rand(64, 1, 32, 32) * 0.5
    network = embedder_for(backbone(name="conv4"), data, 8)
    assert network.mean.item() == pytest.approx(data.mean().item())
    assert network.std.item() == pytest.approx(data.std().item())
    assert model(name="timm/resnet10t", channels=3).mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])


def test_frozen_batch_norm_keeps_statistics_and_weights():
    network = model(name="conv4", frozen_batch_norm=True).train()
    norms = [layer for layer in network.trunk.modules() if isinstance(layer, nn.BatchNorm2d)]
    before = [layer.running_mean.clone() for layer in norms]
    network(torch.rand(8, 1, 32, 32)).sum().backward()
    assert all(torch.equal(a, layer.running_mean) for a, layer in zip(before, norms, strict=True))
    assert not any(tensor.requires_grad for layer in norms for tensor in layer.parameters())
    assert model(name="conv4").train().trunk[0][1].training


@pytest.mark.parametrize("kind", ["safetensors", "pt"])
def test_weights_come_from_a_local_file(tmp_path, kind):
    source = model(name="conv4").trunk.state_dict() | {"classifier.weight": torch.ones(2, 2)}
    source = {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in source.items()}
    file = tmp_path / f"trunk.{kind}"
    save_file(
        {name: tensor.contiguous() for name, tensor in source.items()}, file
    ) if kind == "safetensors" else torch.save(source, file)
    loaded = model(name="conv4", weights=str(file)).trunk.state_dict()
    assert all(torch.equal(source[name], tensor) for name, tensor in loaded.items())


@pytest.mark.parametrize("damage", ["empty", "other", "pickle"])
def test_a_file_that_is_not_this_trunks_weights_is_refused_in_a_sentence(tmp_path, damage):
    file = tmp_path / "trunk.pt"
    if damage == "empty":
        file.write_bytes(b"")
    elif damage == "other":
        torch.save({"x": torch.ones(1)}, file)
    elif damage == "pickle":
        torch.save({"x": Exception("code must not be loaded")}, file)
    with pytest.raises(ValueError, match="not weights of this trunk") as error:
        model(name="conv4", weights=str(file))
    assert "\n" not in str(error.value)


def test_pretrained_weights_that_cannot_be_downloaded_are_a_sentence(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="name a local file with weights"):
        model(name="timm/resnet10t", pretrained=True, channels=3)


LEVELS = [("conv4", 32), ("timm/resnet10t", 64), ("timm/test_vit", 160), ("timm/test_mambaout", 96)]


@pytest.mark.parametrize(("name", "size"), LEVELS)
@pytest.mark.parametrize(("pooling", "norm"), [("average", "none"), ("gem", "batch"), ("flatten", "layer")])
def test_every_level_has_its_own_pooling_normalisation_and_head(name, size, pooling, norm):
    network = model(name=name, size=size, levels=3, pooling=pooling, norm=norm, dim=17).eval()
    images = torch.rand(2, 1, size, size)
    maps = network.trunk((images - network.mean) / network.std)
    assert [level.ndim for level in maps] == [4, 4, 4]
    parts = [h(p(level)) for h, p, level in zip(network.head, network.pool, maps, strict=True)]
    assert [part.shape[1] for part in parts] == [6, 6, 5]
    torch.testing.assert_close(network(images), torch.cat(parts, 1))
    assert len(list(network.pool.parameters())) == (3 if pooling == "gem" else 0)
    network.train()(torch.rand(4, 1, size, size)).square().sum().backward()
    assert all(tensor.grad is not None for tensor in network.parameters())


@pytest.mark.parametrize(("name", "size"), LEVELS[:2])
def test_the_last_level_is_what_a_trunk_without_levels_gives(name, size):
    images = torch.rand(2, 1, size, size)
    plain, levels = (model(name=name, size=size, levels=n).trunk.eval()(images) for n in (1, 3))
    torch.testing.assert_close(levels[-1], plain)
    height = [level.shape[2] for level in levels]
    assert height[0] > height[1] > height[2]


def test_without_a_head_the_levels_features_stand_side_by_side():
    network = model(name="timm/resnet10t", head="none", levels=3, size=64).eval()
    assert network.dim == network(torch.rand(2, 1, 64, 64)).shape[1] == 128 + 256 + 512


def trained(module):
    return any(tensor.grad is not None and tensor.grad.any() for tensor in module.parameters())


@pytest.mark.parametrize("name", ["conv4", "timm/resnet10t"])
@pytest.mark.parametrize("member", [0, 1, 2])
def test_ranked_lists_on_slices_train_a_level_each(name, member):
    """RLL-(L,M,H): the loss of one level reaches its head, and the trunk no further than its stage."""
    network = model(name=name, levels=3, size=64, dim=16).train()
    objective = ensembles.slices(Shape(16, 6), [ranked_list] * 3, readout="raw")
    embeddings = network(torch.rand(24, 1, 64, 64))
    own = torch.split(embeddings, objective.widths, 1)[member]
    objective.members[member](own, torch.arange(24) % 6).backward()
    trunk = network.trunk if name == "conv4" else [getattr(network.trunk.plain, f"layer{i}") for i in range(1, 5)]
    assert [trained(head) for head in network.head] == [level == member for level in range(3)]
    assert [trained(stage) for stage in trunk] == [stage <= member + 1 for stage in range(4)]
    assert torch.equal(ensembles.read(objective, embeddings), F.normalize(embeddings))


def test_frozen_batch_norm_covers_every_level():
    network = model(name="timm/resnet10t", levels=3, frozen_batch_norm=True, size=64).train()
    norms = [layer for layer in network.trunk.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) > 10
    assert not any(layer.training or layer.weight.requires_grad for layer in norms)


@pytest.mark.parametrize(
    ("name", "levels"), [("resnet10t", 3), ("test_efficientnet", 2), ("test_vit", 2), ("test_mambaout", 1)]
)
def test_weights_of_the_plain_timm_model_fit_its_levels(tmp_path, name, levels):
    """Its classifier, and what lies behind its last stage, are left over."""
    torch.manual_seed(1)
    source = timm.create_model(name, num_classes=10)
    state = {n: t + 1 if t.is_floating_point() else t for n, t in source.state_dict().items()}
    torch.save(state, tmp_path / "trunk.pt")
    table = {"name": f"timm/{name}", "channels": 3, "size": 160, "levels": levels}
    trunk = model(**table, weights=str(tmp_path / "trunk.pt")).trunk
    assert all(torch.equal(state[n], t) for n, t in trunk.plain.state_dict().items())
    del state[next(iter(trunk.plain.state_dict()))]
    torch.save(state, tmp_path / "trunk.pt")
    with pytest.raises(ValueError, match="is missing"):
        model(**table, weights=str(tmp_path / "trunk.pt"))


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"name": "timm/resnet10t", "levels": 6}, "resnet10t has no more than 5 levels"),
        ({"name": "conv4", "levels": 3, "dim": 2}, "set recipe.dim=3 or more"),
        ({"name": "conv4", "levels": 5}, "levels"),
        ({"name": "conv4", "levels": 0}, "levels"),
        ({"name": "timm/resnet10t", "levels": 0}, "levels"),
    ],
)
def test_levels_that_do_not_fit_are_a_sentence(table, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        model(**table)
    assert "\n" not in str(error.value)


def test_a_timm_model_without_stages_is_a_sentence(monkeypatch):
    monkeypatch.delattr("timm.models.ResNet.forward_intermediates")
    with pytest.raises(ValueError, match="set levels = 1"):
        model(name="timm/resnet10t", levels=2)
