"""What needs no learning, for the learned to be seen beside. Each public function is a floor.

`(split, *, parameters)` -> float32 [queries + gallery, dim], compared by Euclidean distance.
"""

from typing import Annotated

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray
from PIL import Image

from bench.datasets.split import Split, are_vectors
from losses.shape import Unsuitable

__all__ = ["pixels"]


def pixels(split: Split, *, side: Annotated[int, Ge(1)] = 32, centred: bool = False) -> NDArray[np.float32]:
    """Raw pixels: the image itself, small, as its embedding.

    A data set on which they do well is easy, or has almost the same picture twice.

    Args:
        split: whose test images are embedded.
        side: of the square that each image is resized to, in pixels, bilinear with antialiasing.
        centred: subtract the mean image of the training side, so that what all images share counts for nothing.

    Returns:
        Rows of norm 1, so that the distances are those of cosine similarity; images that are all 0 stay so.

    Raises:
        Unsuitable: the images are vectors, which have no pixels.
    """
    if are_vectors(split):
        raise Unsuitable("pixels needs pictures, and these are stored embeddings.")
    parts = [split.test.images] + ([split.gallery.images] if split.gallery else [])
    vectors = np.concatenate([_small(images, side) for images in parts])
    if centred:
        vectors -= _small(split.train.images, side).mean(0)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.maximum(norms, np.finfo(np.float32).tiny)
    return vectors


def _small(images: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """[N, side · side · C], values in [0, 1]."""
    small = np.empty((len(images), side, side, images.shape[3]), np.float32)
    for row, image in enumerate(images):
        # Pillow knows pictures of one channel as [H, W], of three as [H, W, 3].
        picture = Image.fromarray(np.squeeze(np.asarray(image), 2) if image.shape[2] == 1 else np.asarray(image))
        small[row] = np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR)).reshape(small.shape[1:])
    small /= 255
    return small.reshape(len(images), -1)
