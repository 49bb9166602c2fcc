"""The embedded default: letters of one group of scripts to train on, of another to test on, rendered on the spot."""

import hashlib
import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, features
from PIL import __version__ as pillow

from bench.datasets.files.cache import cached
from bench.datasets.files.letters import distinct, faces, side, version
from bench.datasets.files.stable_choice import choose
from bench.datasets.split import DataError, Images, Split

__all__ = ["glyphs"]

RENDERER = 1  # to be raised with every change that changes a pixel
OVERSAMPLING = 2
EM = 11 / 16  # of the picture's side, so that an accented capital and a descender both fit
ROTATION = math.radians(10.5)
SHEAR = 0.175
SCALE = 0.13
ROOM = 15 / 16  # of the picture's side
SHIFT = 7 / 128  # of the picture's side
FADE = 88  # of 255: the most that ink and ground come nearer to each other, each
NOISE = 17.5  # of 255: standard deviation
DRAWS = 8  # random numbers per picture, besides its noise


class Style(NamedTuple):
    """What the pictures of a letter depend on, besides the letter."""

    difficulty: float
    size: int
    seed: int


def glyphs(
    data: Path | None,
    *,
    classes: Annotated[int, Ge(2)] = 300,
    images_per_class: Annotated[int, Ge(2)] = 20,
    test_classes: Annotated[int, Ge(2)] = 254,
    test_images_per_class: Annotated[int, Ge(2)] = 12,
    difficulty: Annotated[float, Ge(0), Le(3)] = 1.0,
    size: Annotated[int, Ge(16), Le(128)] = 32,
    seed: Annotated[int, Ge(0)] = 0,
) -> Split:
    """Glyphs: letters of the DejaVu fonts, Latin and Greek to train, Cyrillic, Armenian and Georgian to test.

    Rendered from the twelve text faces that matplotlib brings along (Bitstream Vera licence). A class is a letter, its
    text the letter's Unicode name. A picture is light on dark, [size, size, 1], in a random face, with random size,
    rotation, shear, shift, contrast and noise. Letters that some face draws alike, such as Latin A and Cyrillic А, are
    one class, on the train side where one of them belongs there. The pictures of a class do not depend on the other
    classes, and are the same bits wherever fonts and FreeType are the same.

    Args:
        data: not needed.
        classes: training classes, of the 1,219 that DejaVu 2.35 has, chosen by `seed`.
        images_per_class: training pictures per class.
        test_classes: of 419.
        test_images_per_class: test pictures per class.
        difficulty: strength of all distortions; 0: none but the face, 1: easily read, 2: hard.
        size: side of a picture in pixels.
        seed: of the choice of classes and of the pictures.

    Raises:
        DataError: more classes than there are.
    """
    parameters = {key: value for key, value in locals().items() if key != "data"}
    files = faces()
    sha = hashlib.sha256(b"".join(file.read_bytes() for file in files.values())).hexdigest()
    renderer = [RENDERER, pillow, features.version("freetype2")]

    def build() -> Split:
        letters = distinct()
        fonts = {face: _font(file, size) for face, file in files.items()}
        style = Style(difficulty, size, seed)

        def part(name: str, count: int, images: int) -> Images:
            codes = _choose(name, [code for code in letters if side(code) == name], count, seed)
            made = [_pictures(code, [fonts[face] for face in letters[code]], images, style) for code in codes]
            texts = tuple(unicodedata.name(chr(code)) for code in codes)
            labels = np.repeat(np.arange(count, dtype=np.int64), images)
            return Images(np.concatenate(made), labels, tuple(f"U+{code:04X} {chr(code)}" for code in codes), texts)

        train = part("train", classes, images_per_class)
        test = part("test", test_classes, test_images_per_class)
        return Split(train, test, notes={"fonts": f"DejaVu {version(files['Sans'])}"})

    return cached({"dataset": "glyphs", "fonts": sha, "renderer": renderer, **parameters}, build)


def _choose(name: str, codes: Sequence[int], count: int, seed: int) -> list[int]:
    if count > len(codes):
        parameter = {"train": "classes", "test": "test_classes"}[name]
        raise DataError(f"glyphs has {len(codes):,} {name} classes: set {parameter} to at most that, not {count:,}.")
    picked = set(choose([str(code) for code in codes], count, seed))
    return [code for code in codes if str(code) in picked]


def _pictures(code: int, fonts: Sequence[ImageFont.FreeTypeFont], count: int, style: Style) -> NDArray[np.uint8]:
    """[count, size, size, 1] pictures of one letter.

    Raw PCG64 output, integers and binary fractions only: no random distribution, no rounding of a numpy or CPU version
    is in the way of the same bits.
    """
    difficulty, size, seed = style
    bits = np.random.PCG64([seed, code])
    draws = (bits.random_raw(count * DRAWS) >> np.uint64(11)).reshape(count, DRAWS) * 2.0**-53
    drawn: dict[int, Image.Image] = {}
    masks = []
    for choice, *warp in draws[:, :6].tolist():
        face = int(choice * len(fonts))
        if face not in drawn:
            drawn[face] = _letter(chr(code), fonts[face], size)
        masks.append(np.asarray(_warped(drawn[face], [difficulty * (2 * draw - 1) for draw in warp], size)))
    faded = np.floor(draws[:, 6:] * min(difficulty, 1) * FADE).astype(np.int32)
    ground, ink = faded[:, 0, None, None], 255 - faded[:, 1, None, None]
    noise = bits.random_raw(count * size * size // 2).view(np.uint8).reshape(count, size, size, 4)
    amplitude = round(difficulty * NOISE / 147.8 * 2**12)  # 147.8: standard deviation of the sum of four bytes
    grain = (noise.sum(-1, dtype=np.int32) - 510) * amplitude >> 12
    level = (ground * 255 + (ink - ground) * np.stack(masks)) // 255 + grain
    pictures: NDArray[np.uint8] = level.clip(0, 255).astype(np.uint8)[..., None]
    return pictures


def _font(file: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(file), round(EM * OVERSAMPLING * size), layout_engine=ImageFont.Layout.BASIC)


def _letter(letter: str, font: ImageFont.FreeTypeFont, size: int) -> Image.Image:
    """The upright letter, baseline fixed, on a canvas three times as wide as a picture.

    A letter that leaves the picture's middle, ROOM wide, is moved into it, and made smaller where it is larger.
    """
    side, room = 3 * OVERSAMPLING * size, ROOM * OVERSAMPLING * size
    canvas = Image.new("L", (side, side))
    baseline = side / 2 + 0.36 * font.size  # half of a capital's height below the centre
    ImageDraw.Draw(canvas).text((side / 2, baseline), letter, fill=255, font=font, anchor="ms")
    left, top, right, bottom = canvas.getbbox() or (0, 0, 1, 1)
    larger = max(right - left, bottom - top) / room
    if larger > 1:
        return _letter(letter, font.font_variant(size=math.floor(font.size / larger)), size)
    x, y = _overhang(left, right, side, room), _overhang(top, bottom, side, room)
    return canvas.crop((x, y, x + side, y + side)) if x or y else canvas


def _overhang(low: int, high: int, side: int, room: float) -> int:
    """Whole pixels by which [low, high] leaves the middle `room` of `side`, negative before it."""
    start, end = (side - room) / 2, (side + room) / 2
    return math.floor(min(low - start, 0)) or math.ceil(max(high - end, 0))


def _warped(letter: Image.Image, warp: Sequence[float], size: int) -> Image.Image:
    """The letter rotated, sheared, scaled and shifted by `warp`, each in [-difficulty, difficulty].

    The coefficients are multiples of 2^-12, so that bilinear sampling is exact in double precision on every machine.
    """
    angle, shear, scale = warp[0] * ROTATION, warp[1] * SHEAR, math.exp(warp[2] * SCALE)
    side, centre = OVERSAMPLING * size, 1.5 * OVERSAMPLING * size
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    a, b, d, e = (round(value * 4096) / 4096 for value in (cos, sin + shear * cos, -sin, cos - shear * sin))
    x, y = (side / 2 + round(move * SHIFT * side * 4096) / 4096 for move in warp[3:])
    matrix = (a, b, centre - a * x - b * y, d, e, centre - d * x - e * y)
    return letter.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR).reduce(
        OVERSAMPLING
    )
