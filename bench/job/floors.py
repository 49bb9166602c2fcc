"""What needs no learning, for the learned to be seen beside. Each public function is a floor.

`(split, *, parameters)` -> float32 [queries + gallery, dim], compared by Euclidean distance. One whose first argument
is `features` is given what the trunk makes of the pictures, vectors [N, width].
"""

from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray
from PIL import Image
from sklearn.decomposition import PCA

from bench.datasets.split import Split, are_vectors
from bench.job.batches import example
from losses.shape import Unsuitable

__all__ = ["pixels", "trunk"]


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
    return _on_the_sphere(vectors)


def trunk(
    features: Split,
    *,
    transform: Literal["none", "standardised", "whitened"] = "none",
    dim: Annotated[int, Ge(1)] = 128,
) -> NDArray[np.float32]:
    """The pretrained trunk alone: its pooled features, or the embeddings of a dataset of vectors, without a head.

    What a loss cannot beat is not worth its training.

    Args:
        features: of the pictures.
        transform: none; standardised: every number less its mean on the training side, over its standard deviation
            there; whitened: the first principal components of the training side, each over its standard deviation.
            Some 16,000 rows stand for a larger training side.
        dim: how many components are kept of the whitened features at most.

    Returns:
        Rows of norm 1, so that the distances are those of cosine similarity; rows that are all 0 stay so.
    """
    parts = [features.test.images] + ([features.gallery.images] if features.gallery else [])
    vectors = np.concatenate([np.asarray(part, np.float32) for part in parts])
    training = example(features.train).numpy()
    if transform == "standardised":
        spread = training.std(0)
        vectors -= training.mean(0)
        vectors /= np.where(spread > 0, spread, 1)
    elif transform == "whitened":
        kept = min(dim, training.shape[1], len(training) - 1)
        vectors = PCA(kept, whiten=True, svd_solver="covariance_eigh").fit(training).transform(vectors)
    return _on_the_sphere(vectors)


def _on_the_sphere(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
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
