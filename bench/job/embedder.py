"""The network that is trained: normalisation, trunk, pooling and head, image to embedding."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

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
    pooling: Literal["average", "max", "gem", "flatten"] = "average",
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
            flatten keeps where each feature was found, as the few-shot literature's Conv-4 does.
        norm: of the pooled features, without parameters of its own: batch or layer normalisation (the latter as in
            Zhai, Wu, BMVC 2019). Features after a ReLU are all positive, so without it every two embeddings start out
            alike, from which losses with proxies recover slowly.
        head: one linear layer, or none.
        frozen_batch_norm: the trunk's batch norms keep their statistics, weights and biases.
        weights: a local file of the trunk's weights, safetensors or a PyTorch state dict.

    Raises:
        ValueError: the weights file cannot be read or belongs to another trunk, or dim is less than the levels.
    """
    if weights is not None:
        _load(getattr(trunk, "plain", trunk), Path(weights))  # a wrapper's names are not the file's
    mean, std = _statistics(trunk, example)
    maps = _maps(trunk, (example - mean.view(-1, 1, 1)) / std.view(-1, 1, 1))
    pools = [_GeM() if pooling == "gem" else _Pool(pooling) for _ in maps]
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
    trunk = entry.function()(example.shape[1], *([model] if model else []), **own)
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
    """Average or maximum over all places of a feature map, or over all tokens; or every place side by side."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, features: Tensor) -> Tensor:
        places = _places(features)
        if self.kind == "flatten":
            return places.flatten(1)
        return places.mean(-1) if self.kind == "average" else places.amax(-1)


class _GeM(nn.Module):
    """Generalised mean over all places, with a learned exponent that starts at 3."""

    def __init__(self) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.tensor(3.0))

    def forward(self, features: Tensor) -> Tensor:
        return _places(features).clamp(min=1e-6).pow(self.power).mean(-1).pow(1 / self.power)


def _places(features: Tensor) -> Tensor:
    """[B, features, places] from a feature map [B, features, h, w], tokens [B, tokens, features] or a vector."""
    if features.ndim == 4:
        return features.flatten(2)
    return features.transpose(1, 2) if features.ndim == 3 else features.unsqueeze(-1)


def _batch_norms(module: nn.Module) -> list[nn.Module]:
    return [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


def _statistics(trunk: nn.Module, example: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel: the trunk's own where it names them, else the example's."""
    config: Mapping[str, Any] = getattr(trunk, "default_cfg", {})
    stated: tuple[Sequence[float], Sequence[float]] = (config.get("mean", ()), config.get("std", ()))
    if len(stated[0]) == example.shape[1]:
        return torch.tensor(stated[0]), torch.tensor(stated[1])
    return example.mean((0, 2, 3)), example.std((0, 2, 3)).clamp(min=1e-3)


@torch.no_grad()
def _maps(trunk: nn.Module, example: Tensor) -> list[Tensor]:
    """The feature map of each level for two images of the example."""
    trunk.eval()
    maps: Tensor | list[Tensor] = trunk(example[:2])
    return maps if isinstance(maps, list) else [maps]


def _load(trunk: nn.Module, file: Path) -> None:
    try:
        state = (
            load_file(file)
            if file.suffix == ".safetensors"
            else torch.load(file, map_location="cpu", weights_only=True)
        )
        absent = trunk.load_state_dict(state, strict=False).missing_keys  # a classifier may be left over
    except Exception as error:  # unpickling raises whatever it likes
        first = str(error).strip().partition("\n")[0]
        raise ValueError(f"{file}: not weights of this trunk; {first}") from None
    if absent:
        raise ValueError(f"{file}: not weights of this trunk; {absent[0]} is missing")
