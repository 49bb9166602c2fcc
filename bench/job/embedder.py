"""The network that is trained: normalisation, trunk, pooling and head, image to embedding."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bench.job.weights import load
from bench.matrix.catalogue import find
from bench.matrix.job import Part
from losses.ensembles import widths

__all__ = ["Embedder", "embedder", "embedder_for"]


class Embedder(nn.Module):
    """Images in [0, 1], [B, C, H, W] -> embeddings [B, dim], not normalised."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, trunk: nn.Module, pool: nn.Module, head: nn.Module, dim: int, *, mean: Tensor, std: Tensor
    ) -> None:
        super().__init__()
        self.trunk, self.pool, self.head = trunk, pool, head
        self.dim, self.frozen_batch_norm = dim, False
        self.register_buffer("mean", mean.view(-1, 1, 1))
        self.register_buffer("std", std.view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings of images, [B, dim]; of a trunk with levels, the levels' embeddings side by side."""
        normal = (images - self.mean) / self.std
        parts = self.head(self.pool(self.trunk(normal.contiguous(memory_format=torch.channels_last))))
        embeddings: Tensor = torch.cat(parts, 1) if isinstance(parts, list) else parts
        return embeddings

    def train(self, mode: bool = True) -> "Embedder":
        """As nn.Module.train, but frozen batch norms stay in evaluation mode."""
        super().train(mode)
        if self.frozen_batch_norm:
            for layer in _batch_norms(self.trunk):
                layer.eval()
        return self


def embedder(
    trunk: nn.Module,
    example: Tensor,
    dim: int,
    *,
    pooling: Literal["average", "max", "gem", "flatten", "token"] = "average",
    norm: Literal["none", "batch", "layer"] = "none",
    head: Literal["linear", "none"] = "linear",
    frozen_batch_norm: bool = False,
    weights: str | None = None,
) -> Embedder:
    """Pooling and head on a trunk; its keyword-only arguments may be set on every backbone of a matrix.

    Args:
        trunk: images -> feature map [B, features, h, w], or tokens [B, tokens, features]; or a list of these, one a
            level: then each level has its own pooling, normalisation and linear layer, and they share out the
            embedding in their order, as the ensemble `slices` does.
        example: images [B, C, H, W] in [0, 1], for the size of the feature map and, where the trunk names none, the
            mean and standard deviation of each channel.
        dim: width of the embedding; without a head it is the trunk's own, of all levels together.
        pooling: over the feature map: average, max, generalised mean (Radenovic et al., TPAMI 2019), or none at all:
            flatten keeps where each feature was found, as the few-shot literature's Conv-4 does. Of a transformer
            they see the patches alone, as timm's own do: class token, distillation token and registers are left out;
            token takes the class token instead, as most work with vision transformers does.
        norm: of the pooled features, without parameters of its own: batch or layer normalisation (the latter as in
            Zhai, Wu, BMVC 2019). Features after a ReLU are all positive, so without it every two embeddings start out
            alike, from which losses with proxies recover slowly.
        head: one linear layer, or none.
        frozen_batch_norm: the trunk's batch norms keep their statistics, weights and biases.
        weights: a local file of the trunk's weights, safetensors or a PyTorch state dict.

    Raises:
        ValueError: the weights file cannot be read or belongs to another trunk, the images do not suit the trunk, it
            has no class token, or dim is less than the levels.
    """
    if weights is not None:
        load(getattr(trunk, "plain", trunk), Path(weights))  # a wrapper's names are not the file's
    mean, std = _statistics(trunk, example)
    maps = _maps(trunk, (example[:2] - mean.view(-1, 1, 1)) / std.view(-1, 1, 1))
    first = _first_tokens(trunk, maps)
    if pooling == "token" and not (first and _has_class_token(trunk)):
        raise ValueError("the features have no class token: set another pooling")
    pools = [_GeM(first) if pooling == "gem" else _Pool(pooling, first) for _ in maps]
    features = [pool(level).shape[1] for pool, level in zip(pools, maps, strict=True)]
    dims = widths(dim, len(maps)) if head == "linear" else features
    heads = [_head(a, b, norm, linear=head == "linear") for a, b in zip(features, dims, strict=True)]
    model = Embedder(trunk, _each(pools), _each(heads), sum(dims), mean=mean, std=std)
    if frozen_batch_norm:
        model.frozen_batch_norm = True
        for layer in _batch_norms(trunk):
            layer.requires_grad_(False)
    return model.to(memory_format=torch.channels_last)


def embedder_for(backbone: Part, example: Tensor, dim: int) -> Embedder:
    """The network of a resolved backbone; draws initial weights from torch's global generator.

    Args:
        backbone: from an expanded matrix.
        example: some training images, float [B, C, H, W] in [0, 1].
        dim: width of the embedding.
    """
    entry = find("backbones", backbone.name)
    shared = {name: backbone.parameters[name] for name in ("pooling", "norm", "head", "frozen_batch_norm", "weights")}
    own = {name: value for name, value in backbone.parameters.items() if name not in shared}
    model = backbone.name.partition("/")[2]
    height, width = example.shape[2:]
    given = [model, (height, width), backbone.contents.get("pretrained")] if model else []
    if shared.get("weights") is not None and "pretrained" in own:
        own["pretrained"] = False  # all of them would be replaced
    trunk = entry.function()(example.shape[1], *given, **own)
    return embedder(trunk, example, dim, **shared)


_NORMS: dict[str, Callable[[int], list[nn.Module]]] = {
    "none": lambda _features: [],
    "batch": lambda features: [nn.BatchNorm1d(features, affine=False)],
    "layer": lambda features: [nn.LayerNorm(features, elementwise_affine=False)],
}


def _head(features: int, dim: int, norm: str, *, linear: bool) -> nn.Sequential:
    return nn.Sequential(*_NORMS[norm](features), *([nn.Linear(features, dim)] if linear else []))


class _Levels(nn.ModuleList):
    """One module per level of the trunk."""

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        return [module(level) for module, level in zip(self, levels, strict=True)]


def _each(modules: Sequence[nn.Module]) -> nn.Module:
    return modules[0] if len(modules) == 1 else _Levels(modules)


class _Pool(nn.Module):
    """Average or maximum over all places of a feature map, or over all patches; every place side by side; or a token.

    `first` is the number of tokens that stand before the patches; the class token is the first of them.
    """

    def __init__(self, kind: str, first: int = 0) -> None:
        super().__init__()
        self.kind, self.first = kind, first

    def forward(self, features: Tensor) -> Tensor:
        if self.kind == "token":
            return features[:, 0]
        places = _places(features, self.first)
        if self.kind == "flatten":
            return places.flatten(1)
        return places.mean(-1) if self.kind == "average" else places.amax(-1)


class _GeM(nn.Module):
    """Generalised mean over all places, with a learned exponent that starts at 3."""

    def __init__(self, first: int = 0) -> None:
        super().__init__()
        self.power, self.first = nn.Parameter(torch.tensor(3.0)), first

    def forward(self, features: Tensor) -> Tensor:
        places = _places(features, self.first)
        return places.clamp(min=1e-6).pow(self.power).mean(-1).pow(1 / self.power)


def _places(features: Tensor, first: int) -> Tensor:
    """[B, features, places] from a feature map [B, features, h, w], tokens [B, tokens, features] or a vector."""
    if features.ndim == 4:
        return features.flatten(2)
    return features[:, first:].transpose(1, 2) if features.ndim == 3 else features.unsqueeze(-1)


def _first_tokens(trunk: nn.Module, maps: Sequence[Tensor]) -> int:
    """How many tokens stand before those of the patches; 0 for feature maps and vectors."""
    if any(level.ndim != 3 for level in maps):
        return 0
    stated: int | None = getattr(trunk, "num_prefix_tokens", None)
    return int(_has_class_token(trunk)) if stated is None else stated


def _has_class_token(trunk: nn.Module) -> bool:
    return getattr(trunk, "cls_token", None) is not None


def _batch_norms(module: nn.Module) -> list[nn.Module]:
    return [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


def _statistics(trunk: nn.Module, example: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel: the trunk's own where it names them, else the example's."""
    config: Mapping[str, Any] = getattr(trunk, "default_cfg", {})
    stated: tuple[Sequence[float], Sequence[float]] = (config.get("mean", ()), config.get("std", ()))
    if len(stated[0]) == example.shape[1]:
        return torch.tensor(stated[0]), torch.tensor(stated[1])
    return example.mean((0, 2, 3)), example.std((0, 2, 3)).clamp(min=1e-3)


def _maps(trunk: nn.Module, example: Tensor) -> list[Tensor]:
    """The feature map of each level for the example.

    Raises:
        ValueError: the images do not suit the trunk; the sentence names a size that does, where one is found.
    """
    trunk.eval()
    try:
        return _levels(trunk, example)
    except Exception as error:  # a trunk raises whatever it likes
        have = " × ".join(map(str, example.shape[2:]))
        first = str(error).strip().partition("\n")[0]
        advice = (
            f"set size = {size} of the dataset" if (size := _size_that_fits(trunk, example)) else "set another size"
        )
        raise ValueError(
            f"pictures of {have} pixels do not suit this trunk ({first}): {advice}, or choose another backbone"
        ) from None


@torch.no_grad()
def _levels(trunk: nn.Module, images: Tensor) -> list[Tensor]:
    maps: Tensor | list[Tensor] = trunk(images)
    found = maps if isinstance(maps, list) else [maps]
    if not all(level.numel() for level in found):
        raise ValueError("nothing is left of them")
    return found


def _size_that_fits(trunk: nn.Module, example: Tensor) -> int | None:
    """A number of pixels that the trunk takes: the next power of two, else what it was made for."""
    made_for: Sequence[int] = getattr(trunk, "default_cfg", {}).get("input_size", ())[1:2]
    larger = [size for size in (16, 32, 64, 128, 256) if size > min(example.shape[2:])]
    for size in larger:
        with suppress(Exception):
            _levels(trunk, example.new_zeros(1, example.shape[1], size, size))
            return size
    return next(iter(made_for), None)
