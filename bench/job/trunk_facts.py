"""What has to be known of a trunk before a network stands on it: its feature maps, tokens and channels."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["first_tokens", "has_class_token", "maps_of", "statistics", "width_of"]


def width_of(trunk: nn.Module, vectors: Tensor) -> int:
    """Width of what a trunk makes of vectors [N, width].

    Raises:
        ValueError: it makes something else than vectors of them.
    """
    trunk.eval()
    with torch.no_grad():
        found = trunk(vectors)
    if not isinstance(found, Tensor) or found.ndim != 2:
        raise ValueError("a backbone of vectors must give vectors [B, width]: mend its forward")
    return found.shape[1]


def first_tokens(trunk: nn.Module, maps: Sequence[Tensor]) -> int:
    """How many tokens stand before those of the patches; 0 for feature maps and vectors."""
    if any(level.ndim != 3 for level in maps):
        return 0
    stated: int | None = getattr(trunk, "num_prefix_tokens", None)
    return int(has_class_token(trunk)) if stated is None else stated


def has_class_token(trunk: nn.Module) -> bool:
    """Whether one of its tokens stands for the whole image."""
    return getattr(trunk, "cls_token", None) is not None


def statistics(trunk: nn.Module, example: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel: the trunk's own where it names them, else the example's."""
    config: Mapping[str, Any] = getattr(trunk, "default_cfg", {})
    stated: tuple[Sequence[float], Sequence[float]] = (config.get("mean", ()), config.get("std", ()))
    if len(stated[0]) == example.shape[1]:
        return torch.tensor(stated[0]), torch.tensor(stated[1])
    return example.mean((0, 2, 3)), example.std((0, 2, 3)).clamp(min=1e-3)


def maps_of(trunk: nn.Module, example: Tensor) -> list[Tensor]:
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
