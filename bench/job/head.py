"""The head: from the pooled features of a trunk to the embedding; of a trunk with levels, one head per level."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from losses.ensembles import widths

__all__ = ["Head", "each", "head_on"]

_NORMS: dict[str, Callable[[int], list[nn.Module]]] = {
    "none": lambda _features: [],
    "batch": lambda features: [nn.BatchNorm1d(features, affine=False)],
    "layer": lambda features: [nn.LayerNorm(features, elementwise_affine=False)],
}


class Head(NamedTuple):
    """What makes embeddings of features."""

    layers: nn.Module
    """[B, features] -> [B, dim]; of several levels, a list of the former -> a list of their shares of the latter."""
    dim: int


def head_on(
    features: Sequence[int], dim: int, *, norm: str = "none", kind: str = "linear", hidden: int | None = None
) -> Head:
    """A head; draws initial weights from torch's global generator.

    Args:
        features: width of the pooled features of each level.
        dim: width of the embedding, which the levels share out in their order; without layers, that of the features.
        norm: of the features: none, batch or layer.
        kind: linear, mlp (two linear layers with a ReLU between them) or none.
        hidden: width of the first layer of an mlp.

    Raises:
        ValueError: dim is less than the levels, or kind and hidden do not go together.
    """
    if (kind == "mlp") != (hidden is not None):
        needed = "needs hidden = ..., the width of its first layer" if kind == "mlp" else "has no hidden layer"
        raise ValueError(f'head = "{kind}" {needed}: {"add" if kind == "mlp" else "remove"} it')
    dims = list(features) if kind == "none" else widths(dim, len(features))
    layers = [_layers(kind, a, hidden, b) for a, b in zip(features, dims, strict=True)]
    heads = [nn.Sequential(*_NORMS[norm](a), *more) for a, more in zip(features, layers, strict=True)]
    return Head(each(heads), sum(dims))


def _layers(kind: str, features: int, hidden: int | None, dim: int) -> list[nn.Module]:
    if hidden is not None:
        return [nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, dim)]
    return [nn.Linear(features, dim)] if kind == "linear" else []


class _Levels(nn.ModuleList):
    """One module per level of the trunk."""

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        return [module(level) for module, level in zip(self, levels, strict=True)]


def each(modules: Sequence[nn.Module]) -> nn.Module:
    """A module per level: on the features of one level, or on a list of them."""
    return modules[0] if len(modules) == 1 else _Levels(modules)
