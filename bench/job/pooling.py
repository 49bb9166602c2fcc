"""From the feature map or the tokens of a trunk to one vector per image."""

import torch
from torch import Tensor, nn

__all__ = ["GeM", "Pool"]


class Pool(nn.Module):
    """Average or maximum over all places of a feature map, or over all patches; every place side by side; or a token.

    `first` is the number of tokens that stand before the patches; the class token is the first of them.
    """

    def __init__(self, kind: str, first: int = 0) -> None:
        super().__init__()
        self.kind, self.first = kind, first

    def forward(self, features: Tensor) -> Tensor:
        """[B, features, h, w], [B, tokens, features] or [B, features] -> [B, features]."""
        if self.kind == "token":
            return features[:, 0]
        places = _places(features, self.first)
        if self.kind == "flatten":
            return places.flatten(1)
        return places.mean(-1) if self.kind == "average" else places.amax(-1)


class GeM(nn.Module):
    """Generalised mean over all places, with a learned exponent that starts at 3."""

    def __init__(self, first: int = 0) -> None:
        super().__init__()
        self.power, self.first = nn.Parameter(torch.tensor(3.0)), first

    def forward(self, features: Tensor) -> Tensor:
        """[B, features, h, w], [B, tokens, features] or [B, features] -> [B, features]."""
        places = _places(features, self.first)
        return places.clamp(min=1e-6).pow(self.power).mean(-1).pow(1 / self.power)


def _places(features: Tensor, first: int) -> Tensor:
    """[B, features, places] from a feature map [B, features, h, w], tokens [B, tokens, features] or a vector."""
    if features.ndim == 4:
        return features.flatten(2)
    return features[:, first:].transpose(1, 2) if features.ndim == 3 else features.unsqueeze(-1)
