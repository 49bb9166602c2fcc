import io

import numpy as np
import pytest
from PIL import Image

from bench.datasets.split import Images, Split
from bench.job.floors import pixels
from bench.matrix.catalogue import entries
from losses.shape import Unsuitable


def part(seed, channels, count=6):
    images = np.random.default_rng(seed).integers(0, 256, (count, 20, 20, channels), dtype=np.uint8)
    return Images(images, np.arange(count) // 2, ("a", "b", "c"))


def by_hand(images, side):
    """Each picture through Pillow, as a file, to a vector."""
    vectors = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(file, "PNG")
        small = Image.open(file).resize((side, side), Image.Resampling.BILINEAR)
        vectors.append(np.asarray(small, dtype=np.float64).ravel() / 255)
    return np.array(vectors)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("gallery", [False, True])
@pytest.mark.parametrize("centred", [False, True])
def test_pixels_are_the_small_picture_itself(channels, gallery, centred):
    split = Split(part(0, channels), part(1, channels), part(2, channels) if gallery else None)
    parts = [split.test.images, *([split.gallery.images] if gallery else [])]
    expected = np.concatenate([by_hand(images, 8) for images in parts])
    if centred:
        expected -= by_hand(split.train.images, 8).mean(0)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = pixels(split, side=8, centred=centred)
    assert found.dtype == np.float32
    assert np.allclose(found, expected, atol=1e-6)


def test_a_black_picture_has_an_embedding_of_zeros():
    black = part(0, 3)._replace(images=np.zeros((6, 20, 20, 3), np.uint8))
    assert not pixels(Split(black, black)).any()


def test_vectors_have_no_pixels():
    vectors = part(0, 3)._replace(images=np.ones((6, 4), np.float32))
    with pytest.raises(Unsuitable, match="needs pictures, and these are stored embeddings"):
        pixels(Split(vectors, vectors))


def test_floors_are_listed():
    assert entries("floors")["pixels"].label.startswith("Raw pixels")
