"""Pictures of more than 8 bits made 8: scaled by what the file says of its white, or refused, never clipped."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["eight_bits", "is_deep", "stated_white"]

BITS_PER_SAMPLE, MAXIMUM, SCALE_MAXIMUM = 258, 281, 341
"""Tags of TIFF."""
WHITE = 65535
DARK = 2**14
"""A picture of 16 bits whose brightest value is below is taken for one of 14, 12 or 10 bits."""


def is_deep(picture: Image.Image) -> bool:
    """Whether the file has 16 bits of each colour, of which Pillow keeps the upper 8; before it is loaded."""
    return any(";16" in str(tile) for tile in getattr(picture, "tile", []))


def stated_white(picture: Image.Image) -> int | None:
    """The largest value that a TIFF states, where it is that of a number of bits: 4095 of 12."""
    tags: dict[int, Any] = dict(getattr(picture, "tag_v2", {}))
    bits = np.max(tags.get(BITS_PER_SAMPLE, 16))
    if bits < 16:
        return int(2 ** int(bits) - 1)
    stated = [np.max(tags[tag]) for tag in (SCALE_MAXIMUM, MAXIMUM) if tag in tags]
    return next((int(white) for white in stated if white in {2**n - 1 for n in range(8, 17)}), None)


def eight_bits(picture: Image.Image, *, white: int | None, deep: bool) -> Image.Image:
    """The picture with 8 bits per channel.

    Args:
        picture: of any mode.
        white: see `stated_white`.
        deep: see `is_deep`.

    Raises:
        ValueError: nothing says which value is white.
    """
    if picture.mode == "F":
        return _scaled(picture, _white_of_floats(np.asarray(picture), white))
    if picture.mode.startswith("I"):
        return _scaled(picture, _white_of_integers(np.asarray(picture), white))
    if deep:
        colours = picture.convert("RGB") if picture.mode != "RGB" else picture
        _refuse_dark(256 * max(high for _, high in colours.getextrema()))  # type: ignore[misc]
    return picture


def _scaled(picture: Image.Image, white: float) -> Image.Image:
    return Image.fromarray(np.rint(np.asarray(picture) * (255 / white)).astype(np.uint8))


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
