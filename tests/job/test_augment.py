import numpy as np
import pytest
import torch
from PIL import Image

from bench.job import augment
from bench.job.augment import Crop, Distortion, centre


def affine(images, draws, **how):
    return augment.affine(images, draws, Distortion(**how))


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

    def middle(pictures):
        mass = pictures.sum((1, 2, 3))
        return torch.stack(
            [(pictures.sum((1, 2)) * places).sum(1) / mass, (pictures.sum((1, 3)) * places).sum(1) / mass]
        )

    moved = middle(affine(images, generator(), shift=0.1)) - middle(images.float() / 255)
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


def ramps(count, size=64):
    """Images whose red says how far right a pixel is, green how far down, from 0 to 1."""
    place = (torch.arange(size) + 0.5) / size
    across, down = place.expand(size, size), place[:, None].expand(size, size)
    return torch.stack([across, down]).expand(count, 2, size, size).contiguous()


def boxes(crops):
    """Left, top, width and height of the box each crop shows, as shares, from its middle and its slopes."""
    side = crops.shape[2]
    steps = torch.stack(
        [crops[:, 0].diff(dim=2).flatten(1).median(1)[0], crops[:, 1].diff(dim=1).flatten(1).median(1)[0]]
    )
    width, height = steps * side
    middle = crops[:, :, side // 2 - 1 : side // 2 + 1, side // 2 - 1 : side // 2 + 1].mean((2, 3))
    return middle[:, 0] - width / 2, middle[:, 1] - height / 2, width, height


def test_a_crop_is_a_box_of_the_area_and_ratio_asked_for_inside_the_image():
    left, top, width, height = boxes(affine(ramps(2000), generator(), crop=Crop(32, (0.2, 0.6), (0.5, 2.0))))
    area, ratio = width * height, width / height
    assert (left > -1e-3).all()
    assert (top > -1e-3).all()
    assert (left + width < 1.001).all()
    assert (top + height < 1.001).all()
    assert 0.199 < area.min() < 0.21
    assert 0.55 < area.max() < 0.601
    assert 0.499 < ratio.min() < 0.52
    assert 1.9 < ratio.max() < 2.002
    assert abs(float(ratio.log().mean())) < 0.05  # as often wide as high


def test_a_crop_lies_anywhere_it_fits():
    left, _, width, _ = boxes(affine(ramps(2000), generator(), crop=Crop(32, (0.25, 0.25), (1.0, 1.0))))
    assert torch.allclose(width, torch.tensor(0.5), atol=1e-3)
    assert torch.histc(left, 5, 0, 0.5).min() > 300  # of 400 expected


def test_a_box_that_never_fits_gives_the_whole_image():
    images = ramps(3)
    assert torch.allclose(affine(images, generator(), crop=Crop(64, (0.9, 1.0), (4.0, 4.0))), images, atol=1e-6)


def test_a_crop_of_everything_resizes():
    crops = affine(ramps(2), generator(), crop=Crop(16, (1.0, 1.0), (1.0, 1.0)))
    expected = torch.nn.functional.interpolate(ramps(2), (16, 16), mode="bilinear", align_corners=False)
    assert torch.allclose(crops, expected, atol=1e-5)


def test_a_crop_is_cut_from_the_mirrored_image():
    options = {"crop": Crop(32, (0.3, 0.5))}
    plain = boxes(affine(ramps(500), generator(), **options))
    mirrored = boxes(affine(ramps(500), generator(), flip=True, **options))
    turned = mirrored[2] < 0
    assert 150 < turned.sum() < 350
    assert torch.allclose(plain[2], mirrored[2].abs(), atol=1e-4)
    right = mirrored[0][turned]
    assert torch.allclose(1 - plain[0][turned], right, atol=1e-3)


@pytest.mark.parametrize("side", [None, 2, 5, 8])
def test_the_middle_of_images(side):
    images = torch.arange(2 * 8 * 8).view(1, 2, 8, 8)
    found = centre(images, side)
    start = 0 if side is None else (8 - side) // 2
    size = side or 8
    assert torch.equal(found, images[:, :, start : start + size, start : start + size])


@pytest.mark.parametrize(
    ("interpolation", "resample"), [("nearest", Image.Resampling.NEAREST), ("bilinear", Image.Resampling.BILINEAR)]
)
@pytest.mark.parametrize("fill", ["edge", "black"])
def test_reads_between_pixels_and_beyond_the_border_as_asked(interpolation, resample, fill):
    images = torch.randint(1, 256, (40, 1, 16, 16), generator=generator(1)).to(torch.uint8)
    warped = affine(images, generator(), shift=0.4, interpolation=interpolation, fill=fill).mul(255)
    right, down = torch.rand(5, 40, generator=generator()).mul(2).sub(1)[2:4].mul(0.4 * 16)
    padded = np.pad(images.numpy()[:, 0], ((0, 0), (8, 8), (8, 8)), mode="edge" if fill == "edge" else "constant")
    for image, found, x, y in zip(padded, warped.numpy()[:, 0], right.tolist(), down.tolist(), strict=True):
        matrix = (1, 0, 8 + x, 0, 1, 8 + y)
        expected = Image.fromarray(image.astype(np.float32)).transform(
            (16, 16), Image.Transform.AFFINE, matrix, resample
        )
        assert np.abs(np.asarray(expected) - found).max() < 0.01
