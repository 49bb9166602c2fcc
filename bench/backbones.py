"""Trunks: images in, feature maps out. Each public function is a backbone; `models.embedder` adds pooling and head."""

from itertools import pairwise

from torch import Tensor, nn

__all__ = ["conv4", "timm"]


def conv4(channels: int, *, width: int = 64) -> nn.Module:
    """Conv-4, the few-shot literature's (Vinyals et al., NeurIPS 2016; Snell et al., NeurIPS 2017).

    Four blocks of 3 × 3 convolution, batch norm, ReLU and 2 × 2 max pooling; the pooling stands before the ReLU, which
    gives the same numbers on a quarter of the places.

    Args:
        channels: of the images.
        width: channels of every block.
    """
    sizes = [channels, width, width, width, width]
    return nn.Sequential(*(_block(a, b) for a, b in pairwise(sizes)))


def _block(inputs: int, outputs: int) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.MaxPool2d(2), nn.ReLU(inplace=True))


def timm(channels: int, model: str, *, pretrained: bool = False) -> nn.Module:
    """Any model of PyTorch Image Models (Wightman, 2019), written `timm/NAME`.

    Args:
        channels: of the images; timm adapts the first layer.
        model: timm's name of it.
        pretrained: start from timm's published weights, downloaded on first use.

    Raises:
        ValueError: the weights cannot be downloaded.
    """
    import timm as library

    try:
        trunk = library.create_model(model, pretrained=pretrained, in_chans=channels, num_classes=0, global_pool="")
    except OSError as error:
        raise ValueError(
            f"the weights of {model} cannot be downloaded; name a local file with weights = ... ({error})"
        ) from None
    return _ChannelsFirst(trunk) if getattr(trunk, "output_fmt", "NCHW") == "NHWC" else trunk


class _ChannelsFirst(nn.Module):
    """A trunk whose feature map comes as [B, height, width, channels]."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.default_cfg = getattr(trunk, "default_cfg", {})

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, features, h, w]."""
        features: Tensor = self.trunk(images)
        return features.permute(0, 3, 1, 2) if features.ndim == 4 else features
