import numpy as np
import pytest
import torch

from bench.job.sampler import balanced, steps


def draw(labels, seed=0, **sizes):
    return [batch.numpy() for batch in balanced(labels, torch.Generator().manual_seed(seed), **sizes)]


@pytest.mark.parametrize(("classes", "images", "counts"), [(4, 3, [5] * 9), (2, 2, [2, 7, 3]), (3, 4, [6, 2, 9, 4, 4])])
def test_a_batch_is_p_classes_of_k_images(classes, images, counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    batches = draw(labels, classes=classes, images=images)
    assert (
        len(batches) == steps(len(labels), classes=classes, images=images) == max(1, len(labels) // (classes * images))
    )
    for batch in batches:
        assert np.bincount(labels[batch])[np.unique(labels[batch])].tolist() == [images] * classes


def test_images_repeat_only_where_a_class_has_too_few():
    labels = np.repeat(np.arange(4), [2, 8, 8, 8])
    for batch in draw(labels, classes=4, images=4):
        for label in range(4):
            assert len(set(batch[labels[batch] == label])) == (2 if label == 0 else 4)


def test_every_class_and_image_gets_its_turn():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 8))
    seen = np.concatenate(draw(labels, classes=5, images=4))
    assert np.bincount(labels[seen]).tolist() == [8] * 10
    assert len(set(seen)) == 80


def test_the_seed_decides_and_nothing_else():
    labels = np.repeat(np.arange(6), 4)
    torch.manual_seed(1)
    first = draw(labels, classes=3, images=2)
    torch.manual_seed(2)
    again, other = draw(labels, classes=3, images=2), draw(labels, seed=1, classes=3, images=2)
    assert all(map(np.array_equal, first, again))
    assert not all(map(np.array_equal, first, other))
