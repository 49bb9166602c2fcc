"""Trunks: images in, feature maps out. Each public function is a backbone; `models.embedder` adds pooling and head.

With `levels` above 1 a trunk gives a list of feature maps, those of its last stages, the last one last.
"""

from itertools import pairwise
from typing import Annotated, Any

from annotated_types import Ge, Le
from torch import Tensor, nn

__all__ = ["conv4", "timm"]


def conv4(channels: int, *, width: int = 64, levels: Annotated[int, Ge(1), Le(4)] = 1) -> nn.Module:
    """Conv-4, the few-shot literature's (Vinyals et al., NeurIPS 2016; Snell et al., NeurIPS 2017).

    Four blocks of 3 × 3 convolution, batch norm, ReLU and 2 × 2 max pooling; the pooling stands before the ReLU, which
    gives the same numbers on a quarter of the places.

    Args:
        channels: of the images.
        width: channels of every block.
        levels: how many of the last blocks give a feature map.
    """
    sizes = [channels, width, width, width, width]
    blocks = [_block(a, b) for a, b in pairwise(sizes)]
    return nn.Sequential(*blocks) if levels == 1 else _Blocks(blocks, levels)


def _block(inputs: int, outputs: int) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.MaxPool2d(2), nn.ReLU(inplace=True))


class _Blocks(nn.Sequential):
    """Blocks of which the last ones give a feature map each."""

    def __init__(self, blocks: list[nn.Module], levels: int) -> None:
        super().__init__(*blocks)
        self.levels = levels

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, C, H, W] -> for each level [B, features, h, w]."""
        maps = [images]
        for block in self:
            maps.append(block(maps[-1]))
        return maps[-self.levels :]


def timm(channels: int, model: str, *, pretrained: bool = False, levels: Annotated[int, Ge(1)] = 1) -> nn.Module:
    """Any model of PyTorch Image Models (Wightman, 2019), written `timm/NAME`.

    Args:
        channels: of the images; timm adapts the first layer.
        model: timm's name of it.
        pretrained: start from timm's published weights, downloaded on first use.
        levels: how many of the last stages give a feature map; of a transformer, how many of its last blocks.

    Raises:
        ValueError: the weights cannot be downloaded, or the model has not so many stages.
    """
    import timm as library

    try:
        trunk = library.create_model(model, pretrained=pretrained, in_chans=channels, num_classes=0, global_pool="")
    except OSError as error:
        raise ValueError(
            f"the weights of {model} cannot be downloaded; name a local file with weights = ... ({error})"
        ) from None
    if levels > 1:
        return _Stages(trunk, model, levels)
    return _ChannelsFirst(trunk) if getattr(trunk, "output_fmt", "NCHW") == "NHWC" else trunk


class _ChannelsFirst(nn.Module):
    """A timm model, `plain`, whose feature map comes as [B, height, width, channels]."""

    def __init__(self, plain: nn.Module) -> None:
        super().__init__()
        self.plain = plain
        self.default_cfg = getattr(plain, "default_cfg", {})

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, features, h, w]."""
        features: Tensor = self.plain(images)
        return features.permute(0, 3, 1, 2) if features.ndim == 4 else features


class _Stages(nn.Module):
    """A timm model, `plain`, of which the last stages give a feature map each; what lies behind them is dropped."""

    plain: Any

    def __init__(self, plain: nn.Module, name: str, levels: int) -> None:
        super().__init__()
        stages = len(getattr(plain, "feature_info", ())) if hasattr(plain, "forward_intermediates") else 1
        if levels > stages:
            raise ValueError(f"{name} has no more than {stages} levels of features: lower levels = {levels}.")
        self.plain = plain
        self.default_cfg = getattr(plain, "default_cfg", {})
        self.stages = self.plain.prune_intermediate_layers(levels, prune_norm=True)

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, C, H, W] -> for each level [B, features, h, w]."""
        maps: list[Tensor] = self.plain.forward_intermediates(images, indices=self.stages, intermediates_only=True)
        return maps
