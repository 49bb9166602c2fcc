import numpy as np
import pytest
import torch
from PIL import Image

from bench.augment import affine


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def picture():
    """A smooth blob off the centre, so that resampling hardly blurs it."""
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    return (255 * torch.exp(-((x - 10) ** 2 / 30 + (y - 18) ** 2 / 60))).to(torch.uint8).view(1, 1, 32, 32)


def test_nothing_asked_nothing_done():
    images = picture()
    assert torch.equal(affine(images, generator()), images.float() / 255)
    assert torch.equal(affine(images.float() / 255, generator()), images.float() / 255)


def test_mirrors_half_of_the_images():
    images = picture().expand(200, -1, -1, -1)
    warped = affine(images, generator(), flip=True)
    mirrored = (warped - (images.float() / 255).flip(3)).abs().amax((1, 2, 3)) < 1e-5
    same = (warped - images.float() / 255).abs().amax((1, 2, 3)) < 1e-5
    assert (mirrored ^ same).all()
    assert 70 < mirrored.sum() < 130


@pytest.mark.parametrize(("option", "most"), [("rotation", 40.0), ("zoom", 0.3)])
def test_agrees_with_pillow(option, most):
    """For every image there is an amount, within what was allowed, with which Pillow makes the same picture."""
    images = picture().expand(50, -1, -1, -1)
    warped = affine(images, generator(), **{option: most}).mul(255).numpy()[:, 0]
    source = Image.fromarray(picture().numpy()[0, 0])
    amounts = [_nearest(source, target, option, most) for target in warped]
    assert max(map(abs, amounts)) <= 1.05 * most
    assert max(amounts) > 0.6 * most
    assert min(amounts) < -0.6 * most


def _nearest(source, target, option, most):
    candidates = np.linspace(-1.2 * most, 1.2 * most, 97)
    errors = [np.abs(_pillow(source, option, amount) - target).mean() for amount in candidates]
    assert min(errors) < 1.5
    return float(candidates[int(np.argmin(errors))])


def _pillow(source, option, amount):
    if option == "rotation":
        return np.asarray(source.rotate(amount, Image.Resampling.BILINEAR), float)
    scale = 1 / (1 + amount)
    matrix = (scale, 0, 16 * (1 - scale), 0, scale, 16 * (1 - scale))
    return np.asarray(source.transform((32, 32), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR), float)


def test_shift_moves_the_centre_of_mass():
    images = picture().expand(200, -1, -1, -1)
    places = torch.arange(32.0)

    def centre(pictures):
        mass = pictures.sum((1, 2, 3))
        return torch.stack(
            [(pictures.sum((1, 2)) * places).sum(1) / mass, (pictures.sum((1, 3)) * places).sum(1) / mass]
        )

    moved = centre(affine(images, generator(), shift=0.1)) - centre(images.float() / 255)
    assert moved.abs().max() <= 3.3
    assert moved.max() > 2.8
    assert moved.min() < -2.8


def test_the_seed_decides_on_every_call():
    images = picture().expand(4, -1, -1, -1)
    options = {"rotation": 20.0, "zoom": 0.2, "shift": 0.1, "flip": True}
    draws = generator()
    first, second = affine(images, draws, **options), affine(images, draws, **options)
    assert torch.equal(first, affine(images, generator(), **options))
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
