"""Transformers, and other trunks that are made for pictures of one size."""

import pytest
import timm
import torch

from bench.job.network import Embedder, embedder_for
from bench.matrix.expand import expand
from bench.matrix.file import Matrix


def model(channels=1, size=32, **table) -> Embedder:
    matrix = {"datasets": ["glyphs"], "backbones": [table], "losses": ["triplet"]}
    backbone = expand(Matrix.model_validate(matrix))[0].backbone
    torch.manual_seed(0)
    return embedder_for(backbone, torch.rand(8, channels, size, size), 16)


TOKENS = [
    ("test_vit", 32, 1),
    ("test_vit", 160, 1),
    ("vit_tiny_patch16_224", 48, 1),
    ("deit_tiny_patch16_224", 32, 1),
    ("cait_xxs24_224", 32, 1),
    ("beit_base_patch16_224", 32, 1),
    ("vit_wee_patch16_reg1_gap_256", 32, 1),
]


@pytest.mark.parametrize(("name", "size", "prefix"), TOKENS)
def test_pooling_leaves_out_the_tokens_before_the_patches_as_timm_does(name, size, prefix):
    """And a transformer made for another size is built for that of the pictures."""
    images = torch.rand(2, 3, size, size)
    network = model(name=f"timm/{name}", channels=3, size=size, head="none").eval()
    tokens = network.trunk((images - network.mean) / network.std)
    assert tokens.shape[1] == (size // 16) ** 2 + prefix
    torch.testing.assert_close(network(images), tokens[:, prefix:].mean(1))
    largest = model(name=f"timm/{name}", channels=3, size=size, head="none", pooling="max").eval()
    torch.testing.assert_close(largest(images), tokens[:, prefix:].amax(1))


def test_the_average_of_patches_is_timms_own():
    torch.manual_seed(0)
    reference = timm.create_model("test_vit", num_classes=0, global_pool="avg", fc_norm=False, img_size=48).eval()
    network = model(name="timm/test_vit", channels=3, size=48, head="none").eval()
    network.trunk.load_state_dict(reference.state_dict())
    images = torch.rand(2, 3, 48, 48)
    torch.testing.assert_close(network(images), reference((images - network.mean) / network.std))


def test_the_class_token_can_be_taken_instead():
    network = model(name="timm/test_vit", channels=3, size=48, head="none", pooling="token").eval()
    images = torch.rand(2, 3, 48, 48)
    torch.testing.assert_close(network(images), network.trunk((images - network.mean) / network.std)[:, 0])


@pytest.mark.parametrize(
    "table",
    [
        {"name": "conv4"},
        {"name": "timm/resnet10t"},
        {"name": "timm/vit_wee_patch16_reg1_gap_256"},  # its only first token is a register
        {"name": "timm/test_vit", "levels": 2},
    ],
)
def test_a_trunk_without_a_class_token_is_refused(table):
    with pytest.raises(ValueError, match="have no class token: set another pooling"):
        model(**table, pooling="token")


@pytest.mark.parametrize("name", ["deit_tiny_distilled_patch16_224", "pit_ti_distilled_224", "crossvit_9_240"])
@pytest.mark.parametrize("pooling", ["average", "gem"])
def test_models_that_pool_by_tokens_of_their_own_give_timms_vector(name, pooling):
    size = int(name.rpartition("_")[2])
    network = model(name=f"timm/{name}", channels=3, size=size, pooling=pooling).eval()
    images = torch.rand(2, 3, size, size)
    pooled = timm.create_model(name, num_classes=0).eval()
    pooled.load_state_dict(network.trunk.state_dict())
    torch.testing.assert_close(network.trunk(images), pooled(images))
    assert network(images).shape == (2, 16)


@pytest.mark.parametrize(
    ("name", "size", "fits"),
    [
        ("conv4", 8, 16),
        ("conv4", 15, 16),
        ("timm/inception_v4", 32, 128),
        ("timm/test_vit", 40, 64),  # not a multiple of its patches
        ("timm/efficientformer_l1", 64, 224),  # made for one size alone
        ("timm/crossvit_9_240", 48, 240),
    ],
)
def test_pictures_that_do_not_suit_the_trunk_are_a_sentence_with_a_size_that_does(name, size, fits):
    channels = 3 if "/" in name else 1
    with pytest.raises(ValueError, match=f"{size} × {size} pixels do not suit .*: set size = {fits} of the") as error:
        model(name=name, channels=channels, size=size)
    assert "\n" not in str(error.value)
    assert model(name=name, channels=channels, size=fits)(torch.rand(2, channels, fits, fits)).shape == (2, 16)
