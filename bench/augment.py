"""Augmentation of a whole batch at once, on the device that trains."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["affine"]


def affine(
    images: Tensor,
    generator: torch.Generator,
    *,
    rotation: float = 0.0,
    zoom: float = 0.0,
    shift: float = 0.0,
    flip: bool = False,
) -> Tensor:
    """Rotate, resize, shift and mirror each image by its own random amount.

    Args:
        images: uint8 or float [B, channels, height, width].
        generator: on the CPU, so that every device draws the same numbers.
        rotation: largest rotation in degrees, either way.
        zoom: largest change of size, as a share; 0.1 is 0.9 to 1.1 times.
        shift: largest shift, as a share of the side, in either direction.
        flip: mirror half of the images left to right.

    Returns:
        float32 in [0, 1] of the same shape for uint8 images; borders repeat the edge pixel.
    """
    scaled = images.float().div_(255) if images.dtype == torch.uint8 else images
    if not (rotation or zoom or shift or flip):
        return scaled
    theta = _matrices(len(images), generator, rotation=rotation, zoom=zoom, shift=shift, flip=flip)
    grid = F.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(scaled, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _matrices(
    count: int, generator: torch.Generator, *, rotation: float, zoom: float, shift: float, flip: bool
) -> Tensor:
    """[count, 2, 3]: where each output pixel comes from, in coordinates from -1 to 1."""
    angle, size, right, down, mirror = torch.rand(5, count, generator=generator).mul(2).sub(1)
    angle, size = angle * math.radians(rotation), 1 + size * zoom
    sign = torch.where(mirror < 0, -1.0, 1.0) if flip else torch.ones(count)
    cosine, sine = angle.cos() / size, angle.sin() / size
    rows = [cosine * sign, -sine, right * 2 * shift, sine * sign, cosine, down * 2 * shift]
    return torch.stack(rows, dim=1).view(count, 2, 3)
