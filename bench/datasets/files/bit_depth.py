"""Pictures of more than 8 bits made 8: scaled by what the file says of its white, or refused, never clipped."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Depth", "eight_bits", "stated_depth"]

BITS_PER_SAMPLE, PHOTOMETRIC, MAXIMUM, PLANES, SCALE_MAXIMUM = 258, 262, 281, 284, 341
"""Tags of TIFF."""
WHITE_IS_ZERO, APART = 0, 2
"""Values of the tags PHOTOMETRIC and PLANES."""
WHITE = 65535
DARK = 2**14
"""A picture of 16 bits whose brightest value is below is taken for one of 14, 12 or 10 bits."""


class Depth(NamedTuple):
    """What a file says of its numbers."""

    white: int | None
    """The largest value, where a TIFF states one that is that of a number of bits: 4095 of 12."""
    deep: bool
    """Whether it has 16 bits of each colour, of which Pillow keeps the upper 8."""
    inverted: bool
    """Whether 0 is white, which Pillow heeds up to 8 bits only."""


def stated_depth(picture: Image.Image) -> Depth:
    """What a file says of its numbers; to be asked before the picture is loaded.

    Raises:
        ValueError: Pillow would take its bytes for something else.
    """
    tags: dict[int, Any] = dict(getattr(picture, "tag_v2", {}))
    if tags.get(PLANES) == APART and np.max(tags.get(BITS_PER_SAMPLE, 1)) > 8:
        raise ValueError("colours of more than 8 bits, each in a plane of its own, are not read: save it with 8 bits")
    many = picture.mode == "F" or picture.mode.startswith("I")
    deep = any(";16" in str(tile) for tile in getattr(picture, "tile", []))
    return Depth(_stated_white(tags), deep, inverted=many and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO)


def _stated_white(tags: dict[int, Any]) -> int | None:
    bits = np.max(tags.get(BITS_PER_SAMPLE, 16))
    if bits < 16:
        return int(2 ** int(bits) - 1)
    stated = [np.max(tags[tag]) for tag in (SCALE_MAXIMUM, MAXIMUM) if tag in tags]
    return next((int(white) for white in stated if white in {2**n - 1 for n in range(8, 17)}), None)


def eight_bits(picture: Image.Image, depth: Depth) -> Image.Image:
    """The picture with 8 bits per channel; where one value of many bits stands for transparency, that is made white.

    Args:
        picture: of any mode.
        depth: what its file says.

    Raises:
        ValueError: nothing says which value is white.
    """
    if picture.mode == "F":
        return _scaled(picture, _white_of_floats(np.asarray(picture), depth.white), inverted=depth.inverted)
    if picture.mode.startswith("I"):
        return _scaled(picture, _white_of_integers(np.asarray(picture), depth.white), inverted=depth.inverted)
    if depth.deep:
        colours = picture.convert("RGB") if picture.mode != "RGB" else picture
        _refuse_dark(256 * max(high for _, high in colours.getextrema()))  # type: ignore[misc]
        if isinstance(clear := picture.info.get("transparency"), tuple):
            picture.info["transparency"] = tuple(value >> 8 for value in clear)
    return picture


def _scaled(picture: Image.Image, white: float, *, inverted: bool) -> Image.Image:
    values = np.asarray(picture)
    scaled = np.rint(values * (255 / white)).astype(np.uint8)
    scaled = 255 - scaled if inverted else scaled
    if isinstance(clear := picture.info.get("transparency"), int):
        scaled[values == clear] = 255
    return Image.fromarray(scaled)


def _white_of_floats(values: NDArray[Any], white: int | None) -> float:
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        return 1.0
    if white is not None and low >= 0 and high <= white:
        return float(white)
    raise ValueError(f"numbers from {low:g} to {high:g}, and nothing says which is white: save it with 8 bits")


def _white_of_integers(values: NDArray[Any], white: int | None) -> float:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > (white or WHITE):
        raise ValueError(f"numbers from {low:,} to {high:,}, not 0 to {white or WHITE:,}: save it with 8 bits")
    if white is None:
        _refuse_dark(high)
    return float(white or WHITE)


def _refuse_dark(high: int) -> None:
    if 0 < high < DARK:
        raise ValueError(
            f"nothing brighter than {high:,} of {WHITE:,}, perhaps {high.bit_length()} bits in a file of 16: save it "
            "with 8 bits"
        )
