"""Small pictures of a dataset as data URIs."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["SIDE", "thumbnail"]

SIDE = 64
"""Pixels of the longer side at most; a smaller picture keeps its own."""
QUALITY = 80


def thumbnail(picture: NDArray[np.uint8]) -> str:
    """A picture [height, width, channels] as a data URI: WebP, grey where it has one or two channels, else colour."""
    grey = picture.shape[2] < 3
    image = Image.fromarray(np.ascontiguousarray(picture[..., 0] if grey else picture[..., :3]))
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
