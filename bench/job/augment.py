"""Augmentation of a whole batch at once, on the device that trains."""

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from losses.to_device import sent

__all__ = ["Crop", "Distortion", "Fill", "Interpolation", "affine", "centre"]

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


class Distortion(NamedTuple):
    """What is done to every image, by a random amount of its own; by default nothing."""

    rotation: float = 0.0
    """Largest rotation in degrees, either way."""
    zoom: float = 0.0
    """Largest change of size, as a share; 0.1 is 0.9 to 1.1 times."""
    shift: float = 0.0
    """Largest shift, as a share of the side, in either direction."""
    flip: bool = False
    """Mirror half of the images left to right."""
    crop: Crop | None = None
    """What is cut out of the result of all these, and how large it comes out."""
    interpolation: Interpolation = "bilinear"
    """How a pixel is read between pixels. bilinear takes the mean of four, which smooths away a picture's noise, in
    training only; nearest keeps it, as torchvision's RandomAffine does by default."""
    fill: Fill = "edge"
    """What lies beyond the border: the edge pixel again, or black."""


def affine(images: Tensor, generator: torch.Generator, how: Distortion) -> Tensor:
    """Rotate, resize, shift, mirror and crop each image by its own random amount.

    Args:
        images: uint8 or float [B, channels, height, width].
        generator: on the CPU, so that every device draws the same numbers.
        how: what is done, and by how much at most.

    Returns:
        float32 in [0, 1] of the same shape, but for a crop's side, for uint8 images.
    """
    scaled = images.float().div_(255) if images.dtype == torch.uint8 else images
    if not (how.rotation or how.zoom or how.shift or how.flip or how.crop):
        return scaled
    theta = _matrices(len(images), generator, how)
    shape = list(images.shape)
    if how.crop is not None:
        theta = _inside(theta, *_boxes(len(images), how.crop, generator, ratio=shape[3] / shape[2]))
        shape[2:] = [how.crop.side, how.crop.side]
    grid = F.affine_grid(sent(theta, images.device), shape, align_corners=False)
    padding = {"edge": "border", "black": "zeros"}[how.fill]
    return F.grid_sample(scaled, grid, mode=how.interpolation, padding_mode=padding, align_corners=False)


def centre(images: Tensor, side: int | None) -> Tensor:
    """The middle square of images [B, channels, height, width], `side` pixels wide; None: the images as they are."""
    if side is None:
        return images
    top, left = ((length - side) // 2 for length in images.shape[2:])
    return images[:, :, top : top + side, left : left + side]


def _matrices(count: int, generator: torch.Generator, how: Distortion) -> Tensor:
    """[count, 2, 3]: where each output pixel comes from, in coordinates from -1 to 1."""
    angle, size, right, down, mirror = torch.rand(5, count, generator=generator).mul(2).sub(1)
    angle, size = angle * math.radians(how.rotation), 1 + size * how.zoom
    sign = torch.where(mirror < 0, -1.0, 1.0) if how.flip else torch.ones(count)
    cosine, sine = angle.cos() / size, angle.sin() / size
    rows = [cosine * sign, -sine, right * 2 * how.shift, sine * sign, cosine, down * 2 * how.shift]
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
