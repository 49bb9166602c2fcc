"""Augmentation of a whole batch at once, on the device that trains."""

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Crop", "Fill", "Interpolation", "affine", "centre"]

Interpolation = Literal["nearest", "bilinear"]
Fill = Literal["edge", "black"]

ATTEMPTS = 10
"""How many boxes are drawn for an image until one lies within it; then the whole image is taken."""


class Crop(NamedTuple):
    """A random resized crop (Szegedy et al., CVPR 2015, as torchvision has it)."""

    side: int
    """Of what comes out, in pixels; not far below the image's own, since crops are resized without antialiasing."""
    area: tuple[float, float] = (0.16, 1.0)
    """Share of the image's, uniform between the two."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Width over height, its logarithm uniform."""


def affine(
    images: Tensor,
    generator: torch.Generator,
    *,
    rotation: float = 0.0,
    zoom: float = 0.0,
    shift: float = 0.0,
    flip: bool = False,
    crop: Crop | None = None,
    interpolation: Interpolation = "bilinear",
    fill: Fill = "edge",
) -> Tensor:
    """Rotate, resize, shift, mirror and crop each image by its own random amount.

    Args:
        images: uint8 or float [B, channels, height, width].
        generator: on the CPU, so that every device draws the same numbers.
        rotation: largest rotation in degrees, either way.
        zoom: largest change of size, as a share; 0.1 is 0.9 to 1.1 times.
        shift: largest shift, as a share of the side, in either direction.
        flip: mirror half of the images left to right.
        crop: what is cut out of the result of all these, and how large it comes out.
        interpolation: how a pixel is read between pixels. bilinear takes the mean of four, which smooths away a
            picture's noise, in training only; nearest keeps it, as torchvision's RandomAffine does by default.
        fill: what lies beyond the border: the edge pixel again, or black.

    Returns:
        float32 in [0, 1] of the same shape, but for a crop's side, for uint8 images.
    """
    scaled = images.float().div_(255) if images.dtype == torch.uint8 else images
    if not (rotation or zoom or shift or flip or crop):
        return scaled
    theta = _matrices(len(images), generator, rotation=rotation, zoom=zoom, shift=shift, flip=flip)
    shape = list(images.shape)
    if crop is not None:
        theta = _inside(theta, *_boxes(len(images), crop, generator, ratio=shape[3] / shape[2]))
        shape[2:] = [crop.side, crop.side]
    grid = F.affine_grid(theta.to(images.device), shape, align_corners=False)
    padding = {"edge": "border", "black": "zeros"}[fill]
    return F.grid_sample(scaled, grid, mode=interpolation, padding_mode=padding, align_corners=False)


def centre(images: Tensor, side: int | None) -> Tensor:
    """The middle square of images [B, channels, height, width], `side` pixels wide; None: the images as they are."""
    if side is None:
        return images
    top, left = ((length - side) // 2 for length in images.shape[2:])
    return images[:, :, top : top + side, left : left + side]


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


def _boxes(count: int, crop: Crop, generator: torch.Generator, *, ratio: float) -> tuple[Tensor, Tensor]:
    """Half sizes [count, 2] and middles [count, 2], across and down, in coordinates from -1 to 1.

    `ratio` is the width of the images over their height.
    """
    area, shape = torch.rand(2, count, ATTEMPTS, generator=generator)
    area = crop.area[0] + area * (crop.area[1] - crop.area[0])
    low, high = (math.log(end) for end in crop.ratio)
    shape = (low + shape * (high - low)).exp() / ratio
    tried = torch.stack([(area * shape).sqrt(), (area / shape).sqrt()], dim=-1)
    fits = (tried <= 1).all(-1)
    chosen = tried[torch.arange(count), fits.int().argmax(1)]
    half = torch.where(fits.any(1, keepdim=True), chosen, 1.0)
    return half, (1 - half) * torch.rand(count, 2, generator=generator).mul(2).sub(1)


def _inside(theta: Tensor, half: Tensor, middle: Tensor) -> Tensor:
    """The matrices [count, 2, 3] that first go into these boxes and then do what `theta` does."""
    turned = theta[:, :, :2]
    moved = (turned @ middle[:, :, None]) + theta[:, :, 2:]
    return torch.cat([turned * half[:, None, :], moved], dim=2)
