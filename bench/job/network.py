"""The network that is trained: normalisation, trunk, pooling and head, image to embedding."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import torch
from annotated_types import Ge
from torch import Tensor, nn

from bench.job.built import built_trunk
from bench.job.head import Head, each, head_on
from bench.job.pooling import GeM, Pool
from bench.job.stages import freeze, still
from bench.job.trunk_facts import first_tokens, has_class_token, maps_of, statistics, width_of
from bench.job.weights import load
from bench.matrix.catalogue import VECTORS, find
from bench.matrix.job import Part

__all__ = ["Embedder", "Options", "embedder", "embedder_for", "embedder_of_vectors"]


class Embedder(nn.Module):
    """Images in [0, 1], [B, C, H, W], or vectors [B, width] -> embeddings [B, dim], not normalised.

    `features` are the widths of the pooled features of each level; `mean` and `std` are those of each channel
    [C, 1, 1], or of each number of a vector [width].
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, trunk: nn.Module, pool: nn.Module, head: Head, *, features: Sequence[int], mean: Tensor, std: Tensor
    ) -> None:
        super().__init__()
        self.trunk, self.pool, self.head = trunk, pool, head.layers
        self.dim, self.features = head.dim, tuple(features)
        self.frozen_batch_norm, self.freeze_stages = False, 0
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings of images, [B, dim]; of a trunk with levels, the levels' embeddings side by side."""
        normal = (images - self.mean) / self.std
        if normal.ndim == 4:
            normal = normal.contiguous(memory_format=torch.channels_last)
        parts = self.head(self.pool(self.trunk(normal)))
        embeddings: Tensor = torch.cat(parts, 1) if isinstance(parts, list) else parts
        return embeddings

    def train(self, mode: bool = True) -> "Embedder":
        """As nn.Module.train, but frozen batch norms and all of a frozen stage stay in evaluation mode."""
        super().train(mode)
        frozen = _batch_norms(self.trunk) if self.frozen_batch_norm else []
        for part in [*frozen, *(still(self.trunk) if self.freeze_stages else [])]:
            part.eval()
        return self


class Options(NamedTuple):
    """What may be set on every backbone of a matrix, beside its own parameters."""

    pooling: Literal["average", "max", "gem", "flatten", "token"] = "average"
    """Over the feature map: average, max, generalised mean (Radenovic et al., TPAMI 2019), or none at all: flatten
    keeps where each feature was found, as the few-shot literature's Conv-4 does. Of a transformer they see the patches
    alone, as timm's own do: class token, distillation token and registers are left out; token takes the class token
    instead, as most work with vision transformers does."""
    norm: Literal["none", "batch", "layer"] = "none"
    """Of the pooled features, without parameters of its own: batch or layer normalisation (the latter as in Zhai, Wu,
    BMVC 2019). Features after a ReLU are all positive, so without it every two embeddings start out alike, from which
    losses with proxies recover slowly."""
    head: Literal["linear", "mlp", "none"] = "linear"
    """One linear layer; two with a ReLU between them, the first `hidden` wide; or none."""
    hidden: Annotated[int, Ge(1)] | None = None
    """Width of the first layer of the head mlp."""
    frozen_batch_norm: bool = False
    """The trunk's batch norms keep their statistics, weights and biases."""
    freeze_stages: Annotated[int, Ge(0)] = 0
    """How many of the trunk's first stages do not learn, and are always in evaluation mode, so that their batch norms
    keep their statistics too. `bench.job.stages` says what a stage is."""
    weights: str | None = None
    """A local file of the trunk's weights, safetensors or a PyTorch state dict."""
    frozen: bool = False
    """The trunk and its pooling do not learn: every picture goes through them once, and jobs train a head on what is
    kept of it in the cache."""
    views: Annotated[int, Ge(0)] = 0
    """Of a frozen trunk: how many augmented views of each training picture are kept; a batch takes one at random. 0:
    the picture itself, as at test time."""


PLAIN = Options()


def embedder(trunk: nn.Module, example: Tensor, dim: int, options: Options = PLAIN) -> Embedder:
    """Pooling and head on a trunk.

    Args:
        trunk: images -> feature map [B, features, h, w], or tokens [B, tokens, features]; or a list of these, one a
            level: then each level has its own pooling, normalisation and head, and they share out the embedding in
            their order, as the ensemble `slices` does.
        example: images [B, C, H, W] in [0, 1], for the size of the feature map and, where the trunk names none, the
            mean and standard deviation of each channel.
        dim: width of the embedding; without a head it is the trunk's own, of all levels together.
        options: of the backbone.

    Raises:
        ValueError: the weights file cannot be read or belongs to another trunk, the images do not suit the trunk, it
            has no class token or not so many stages, dim is less than the levels, or head and hidden do not go
            together.
    """
    if options.weights is not None:
        load(getattr(trunk, "plain", trunk), Path(options.weights))  # a wrapper's names are not the file's
    mean, std = (one.view(-1, 1, 1) for one in statistics(trunk, example))
    maps = maps_of(trunk, (example[:2] - mean) / std)
    first = first_tokens(trunk, maps)
    if options.pooling == "token" and not (first and has_class_token(trunk)):
        raise ValueError("the features have no class token: set another pooling")
    pools = [GeM(first) if options.pooling == "gem" else Pool(options.pooling, first) for _ in maps]
    features = [pool(level).shape[1] for pool, level in zip(pools, maps, strict=True)]
    head = head_on(features, dim, norm=options.norm, kind=options.head, hidden=options.hidden)
    model = Embedder(trunk, each(pools), head, features=features, mean=mean, std=std)
    if options.frozen_batch_norm:
        model.frozen_batch_norm = True
        for layer in _batch_norms(trunk):
            layer.requires_grad_(False)
    if options.freeze_stages:
        model.freeze_stages = options.freeze_stages
        freeze(trunk, options.freeze_stages)
    return model.to(memory_format=torch.channels_last)


def embedder_of_vectors(
    vectors: Tensor, widths: Sequence[int], dim: int, options: Options = PLAIN, trunk: nn.Module | None = None
) -> Embedder:
    """A head on vectors that are there already, standardised by what they are on the training side.

    Args:
        vectors: [N, width] of the training side.
        widths: of the levels that stand side by side in them; none for one level.
        dim: width of the embedding.
        options: of the backbone.
        trunk: vectors -> features [B, width], where something learns between them and the head.

    Raises:
        ValueError: dim is less than the levels, head and hidden do not go together, or the trunk gives no features.
    """
    trunk = trunk or (_SideBySide(widths) if len(widths) > 1 else nn.Identity())
    std = vectors.std(0, correction=0)
    mean, std = vectors.mean(0), torch.where(std > 0, std, 1.0)
    features = widths or [width_of(trunk, (vectors[:2] - mean) / std)]
    head = head_on(features, dim, norm=options.norm, kind=options.head, hidden=options.hidden)
    return Embedder(trunk, nn.Identity(), head, features=features, mean=mean, std=std)


def embedder_for(backbone: Part, example: Tensor, dim: int, widths: Sequence[int] = ()) -> Embedder:
    """The network of a resolved backbone; draws initial weights from torch's global generator.

    Args:
        backbone: from an expanded matrix.
        example: some training images, float [B, C, H, W] in [0, 1], or vectors [B, width] on which a head alone stands.
        dim: width of the embedding.
        widths: of the levels that stand side by side in the vectors; none for one level.
    """
    entry = find("backbones", backbone.name)
    shared = {name: value for name, value in backbone.parameters.items() if name in Options._fields}
    takes_vectors = bool(shared.get("frozen")) or entry.positional == VECTORS
    if takes_vectors != (example.ndim == 2):
        what, fit = ("pictures", "another backbone") if takes_vectors else ("embeddings", 'backbones = ["identity"]')
        raise ValueError(f"{backbone.name} does not take {what}: set {fit}")
    own = {name: value for name, value in backbone.parameters.items() if name not in shared}
    if takes_vectors:
        # A frozen trunk's vectors are its features: what stands on them is the head alone.
        trunk = None if shared.get("frozen") else built_trunk(entry, partial(entry.function(), example.shape[1], **own))
        return embedder_of_vectors(example, widths, dim, Options(**shared), trunk)
    model = backbone.name.partition("/")[2]
    height, width = example.shape[2:]
    given = [model, (height, width), backbone.contents.get("pretrained")] if model else []
    if shared.get("weights") is not None and "pretrained" in own:
        own["pretrained"] = False  # all of them would be replaced
    trunk = built_trunk(entry, partial(entry.function(), example.shape[1], *given, **own))
    return embedder(trunk, example, dim, Options(**shared))


class _SideBySide(nn.Module):
    """Vectors [B, widths together] to one [B, width] per level."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths)

    def forward(self, vectors: Tensor) -> list[Tensor]:
        return list(torch.split(vectors, list(self.widths), 1))


def _batch_norms(module: nn.Module) -> list[nn.Module]:
    return [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
