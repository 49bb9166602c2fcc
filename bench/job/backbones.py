"""Trunks: images in, feature maps out. Each public function is a backbone; `bench.job.network` adds pooling and head.

With `levels` above 1 a trunk gives a list of feature maps, those of its last stages, the last one last.
"""

from functools import partial
from itertools import pairwise
from typing import Annotated, Any

from annotated_types import Ge, Le
from torch import Tensor, nn

from bench.job.weights import packaged_state
from bench.matrix.packaged_weights import EXTRA, PACKAGED

__all__ = ["conv4", "identity", "timm"]


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


def identity(_width: int) -> nn.Module:
    """Identity: embeddings that are there already, standardised by their training side, with a head on them.

    For datasets of vectors, which are never augmented.
    """
    return nn.Identity()


def timm(
    channels: int,
    model: str,
    size: tuple[int, int],
    packaged: str | None = None,
    *,
    pretrained: bool = False,
    levels: Annotated[int, Ge(1)] = 1,
) -> nn.Module:
    """Any model of PyTorch Image Models (Wightman, 2019), written `timm/NAME`.

    A transformer gives all its tokens, of which `pooling` takes the patches or the class token. A model that pools by
    tokens of its own and cannot do without (DeiT distilled, CrossViT) gives the vector that timm makes of them, and
    `pooling` changes nothing.

    Args:
        channels: of the images; timm adapts the first layer.
        model: timm's name of it.
        size: height and width of the images; a model made for one size is built for this one where timm can, and
            pretrained position embeddings are resampled.
        packaged: SHA-256 of the weights of an installed package that it starts from, see `packaged_weights`.
        pretrained: start from the weights of an installed package (`bench list backbones` has their names), else from
            timm's published ones, downloaded on first use.
        levels: how many of the last stages give a feature map; of a transformer, how many of its last blocks.

    Raises:
        ValueError: timm cannot build it, the weights cannot be downloaded or are damaged, or the model has not so many
            stages.
    """
    options: dict[str, Any] = {"pretrained": pretrained, "in_chans": channels, "num_classes": 0}
    if packaged is not None:
        options["pretrained_cfg_overlay"] = {"state_dict": packaged_state(model, packaged)}
    try:
        trunk = _created(model, size, **options)
    except OSError as error:
        raise ValueError(
            f"the weights of {model} cannot be downloaded{_where_else(model)} name a local file with weights = ... "
            f"({str(error).strip().partition(chr(10))[0]})"
        ) from None
    except (AssertionError, RuntimeError, TypeError, NotImplementedError) as error:
        first = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"timm cannot build {model} for {channels} × {size[0]} × {size[1]} pictures ({first}): set another size "
            "of the dataset, or choose another backbone"
        ) from None
    getattr(trunk, "pretrained_cfg", {}).pop("state_dict", None)  # the weights are in the trunk now
    if levels > 1:
        return _Stages(trunk, model, levels)
    return _ChannelsFirst(trunk) if getattr(trunk, "output_fmt", "NCHW") == "NHWC" else trunk


def _where_else(model: str) -> str:
    """How a sentence on weights goes on: with the packages that have them, if there are any."""
    return f": {EXTRA} has them, or" if model in PACKAGED else ";"


def _created(model: str, size: tuple[int, int], **options: Any) -> nn.Module:
    """The model without pooling, or with its own where it has no other; built for the size if it is made for one."""
    import timm as library

    config = library.get_pretrained_cfg(model)
    made_for = config.input_size[1:] if config and config.fixed_input_size else size
    sized = {} if tuple(made_for) == size else {"img_size": size[0] if size[0] == size[1] else size}
    create = partial(library.create_model, model, **options)
    for more in ({"global_pool": "", **sized}, {"global_pool": ""}, sized):
        try:
            return create(**more)
        except TypeError as error:
            if "img_size" not in str(error):
                raise
        except AssertionError:
            if "global_pool" not in more:
                raise
    return create()


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
            raise ValueError(
                f"{name} has no more than {stages} levels of features: set levels = {stages}, not {levels}."
            )
        self.plain = plain
        self.default_cfg = getattr(plain, "default_cfg", {})
        self.stages = self.plain.prune_intermediate_layers(levels, prune_norm=True)

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, C, H, W] -> for each level [B, features, h, w]."""
        maps: list[Tensor] = self.plain.forward_intermediates(images, indices=self.stages, intermediates_only=True)
        return maps
