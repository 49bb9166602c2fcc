import numpy as np
import pytest
import torch

from bench.datasets.split import Images
from bench.job import batches
from bench.job.batches import augmented, epochs, example, generators, reader
from bench.matrix.recipe import Recipe

CPU = torch.device("cpu")
STILL = {"rotation": 0.0, "zoom": 0.0, "shift": 0.0}


def part(classes=6, images=5, channels=3):
    draws = np.random.default_rng(0)
    pictures = draws.integers(0, 256, (classes * images, 8, 6, channels), dtype=np.uint8)
    return Images(pictures, np.repeat(np.arange(classes), images), tuple("abcdefghij"[:classes]))


def first_epoch(recipe, device, labels=None):
    data = part()
    labels = data.labels if labels is None else labels
    return list(next(epochs(augmented(reader(data.images, device), recipe), labels, recipe, draws=generators(0))))


@pytest.mark.parametrize("in_memory", [True, False])
def test_images_arrive_channels_first(monkeypatch, tmp_path, in_memory):
    pictures = part().images
    if not in_memory:
        monkeypatch.setattr(batches, "IN_MEMORY", 10)
        np.save(tmp_path / "images.npy", pictures)
        pictures = np.load(tmp_path / "images.npy", mmap_mode="r")
    chosen = torch.tensor([3, 0, 3])
    expected = torch.from_numpy(part().images[[3, 0, 3]].transpose(0, 3, 1, 2).copy())
    assert torch.equal(reader(pictures, CPU)(chosen), expected)


def test_an_epoch_pairs_images_with_their_labels():
    data = part()
    recipe = Recipe(epochs=2, classes_per_batch=3, images_per_class=2, **STILL)
    drawn = [
        list(epoch)
        for epoch in epochs(augmented(reader(data.images, CPU), recipe), data.labels, recipe, draws=generators(0))
    ]
    assert [len(epoch) for epoch in drawn] == [5, 5]
    for images, labels in drawn[0] + drawn[1]:
        assert images.shape == (6, 3, 8, 6)
        for image, label in zip(images, labels, strict=True):
            own = torch.from_numpy(data.images[data.labels == int(label)].transpose(0, 3, 1, 2).copy()).float() / 255
            assert any(torch.equal(image, other) for other in own)


def test_augmentation_changes_the_images_and_not_the_draws():
    base = {"epochs": 1, "classes_per_batch": 3, "images_per_class": 2}
    plain, warped = (first_epoch(Recipe(**base, **still), CPU) for still in (STILL, {}))
    assert all(torch.equal(a[1], b[1]) for a, b in zip(plain, warped, strict=True))
    assert not torch.equal(plain[0][0], warped[0][0])


def test_images_of_no_class_are_never_drawn():
    recipe = Recipe(epochs=1, classes_per_batch=4, images_per_class=2, **STILL)
    labels = np.repeat([0, -1, 1, 2, -1, 3], 5)
    held_out = torch.from_numpy(part().images[labels < 0].transpose(0, 3, 1, 2).copy()).float() / 255
    for images, drawn in first_epoch(recipe, CPU, labels):
        assert sorted(drawn.tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]
        assert not any(torch.equal(image, other) for image in images for other in held_out)


def test_a_crop_decides_how_large_images_are():
    images, _ = first_epoch(Recipe(epochs=1, classes_per_batch=3, images_per_class=2, crop=10), CPU)[0]
    assert images.shape == (6, 3, 10, 10)
    data = part()
    middle = torch.from_numpy(data.images[:, 2:6, 1:5].transpose(0, 3, 1, 2).copy()).float() / 255
    assert torch.equal(example(data, crop=4), middle)


def test_an_example_comes_from_all_over_the_part():
    data = part(classes=10, images=10)
    assert example(data, count=10).shape == (10, 3, 8, 6)
    assert example(data, count=1000).shape == (100, 3, 8, 6)
    assert torch.equal(example(data, count=10)[9], torch.from_numpy(data.images[90]).permute(2, 0, 1).float() / 255)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_every_device_sees_the_same_images():
    recipe = Recipe(epochs=1, classes_per_batch=3, images_per_class=2)
    host, gpu = (first_epoch(recipe, torch.device(device)) for device in ("cpu", "cuda"))
    for (images, labels), (others, also) in zip(host, gpu, strict=True):
        assert torch.equal(labels, also.cpu())
        assert torch.allclose(images, others.cpu(), atol=1e-5)
