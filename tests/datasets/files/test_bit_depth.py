"""Pictures as scanners, cameras and programs for scientists write them: byte by byte here, since Pillow writes few."""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.datasets.files.decode import read_picture, read_pictures

SIDE = 32
RAMP = np.tile(np.linspace(0, 1, SIDE), (SIDE, 1))
UNSIGNED, FLOATING = 1, 3
BLACK_IS_ZERO, COLOURS = 1, 2


def tiff(
    place: Path, planes: Sequence[np.ndarray], photometric: int, *, apart: bool = False, sample: int | None = None
) -> None:
    """Planes [SIDE, SIDE] of one type, each value side by side with those of the others, or each plane apart."""
    kind = planes[0].dtype.newbyteorder("<")
    strips = [np.stack(planes, 2).astype(kind).tobytes()] if not apart else [p.astype(kind).tobytes() for p in planes]
    starts = [8 + sum(map(len, strips[:number])) for number in range(len(strips))]
    tags: dict[int, tuple[str, list[int]]] = {
        256: ("I", [SIDE]), 257: ("I", [SIDE]), 258: ("H", [8 * kind.itemsize] * len(planes)), 259: ("H", [1]),
        262: ("H", [photometric]), 273: ("I", starts), 277: ("H", [len(planes)]), 278: ("I", [SIDE]),
        279: ("I", [len(strip) for strip in strips]), 284: ("H", [2 if apart else 1]),
        339: ("H", [FLOATING if kind.kind == "f" else UNSIGNED] * len(planes)),
    }  # fmt: skip
    if sample is not None:
        tags[338] = ("H", [sample])
    start = 8 + sum(map(len, strips))
    beyond, entries, body = start + 2 + 12 * len(tags) + 4, b"", b""
    for tag, (form, values) in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}{form}", *values)
        entries += struct.pack("<HHI", tag, 3 if form == "H" else 4, len(values))
        entries += packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", beyond + len(body))
        body += packed if len(packed) > 4 else b""
    directory = struct.pack("<H", len(tags)) + entries + bytes(4) + body
    place.write_bytes(b"II*\0" + struct.pack("<I", start) + b"".join(strips) + directory)


def png16(place: Path, values: np.ndarray, colour_type: int, transparent: bytes = b"") -> None:
    """Values [SIDE, SIDE, channels] of 16 bits."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, colour_type, 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    chunks = chunk(b"IHDR", header) + (chunk(b"tRNS", transparent) if transparent else b"")
    place.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b""))


def assert_ramp(place: Path) -> None:
    """Black on the left, white on the right."""
    for channels in (1, 3):
        found = read_picture(place, SIDE, channels).astype(int)
        assert np.abs(found - np.rint(255 * RAMP)[..., None]).max() <= 1


@pytest.mark.parametrize("photometric", [0, BLACK_IS_ZERO])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_white_is_what_a_tiff_says_it_is(tmp_path: Path, kind: str, photometric: int) -> None:
    """Pillow gives pictures of more than 8 bits as negatives where 0 is white."""
    values = RAMP if photometric == BLACK_IS_ZERO else 1 - RAMP
    white = 1 if kind == "f4" else np.iinfo(kind).max
    values = values * white if kind == "f4" else np.rint(values * white)
    tiff(tmp_path / "a.tif", [values.astype(kind)], photometric)
    assert_ramp(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("apart", [False, True])
def test_planes_of_colours_are_read_or_refused(tmp_path: Path, kind: str, apart: bool) -> None:
    """Pillow takes planes of 16 bits for such of 8, and gives stripes."""
    tiff(tmp_path / "a.tif", [np.rint(RAMP * np.iinfo(kind).max).astype(kind)] * 3, COLOURS, apart=apart)
    if kind == "u2" and apart:
        (why,) = read_pictures([tmp_path / "a.tif"], SIDE, 3).problems.values()
        assert why == "colours of more than 8 bits, each in a plane of its own, are not read: save it with 8 bits"
    else:
        assert_ramp(tmp_path / "a.tif")


@pytest.mark.parametrize(("sample", "expected"), [
    (0, (100, 50, 25)),  # it says nothing of transparency
    (1, (227, 177, 152)),  # colours are weighted by it: c + 255 - a
    (2, (178, 153, 140)),  # they are not: c a / 255 + 255 - a
])  # fmt: skip
def test_a_fourth_sample_is_transparency_where_the_file_says_so(
    tmp_path: Path, sample: int, expected: tuple[int, int, int]
) -> None:
    planes = [np.full((SIDE, SIDE), value, np.uint8) for value in (100, 50, 25, 128)]
    tiff(tmp_path / "a.tif", planes, COLOURS, sample=sample)
    assert np.abs(read_picture(tmp_path / "a.tif", 8, 3)[4, 4].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("clear", [0, 15, SIDE - 1])
@pytest.mark.parametrize("colour_type", [0, 2])
def test_a_value_of_16_bits_that_stands_for_transparency_is_white(tmp_path: Path, colour_type: int, clear: int) -> None:
    values = np.rint(RAMP * 65535).astype(np.uint16)
    colours = np.repeat(values[..., None], 3 if colour_type else 1, 2)
    png16(tmp_path / "a.png", colours, colour_type, struct.pack(">H", values[0, clear]) * colours.shape[2])
    found = read_picture(tmp_path / "a.png", SIDE, 3)[5].astype(int)
    expected = np.where(np.arange(SIDE) == clear, 255, np.rint(255 * RAMP[0]))
    assert np.abs(found - expected[:, None]).max() <= 1


@pytest.mark.parametrize("ending", ["gif", "png", "tif", "webp"])
@pytest.mark.parametrize("hidden", [False, True])
def test_of_several_frames_the_first_is_taken(tmp_path: Path, ending: str, hidden: bool) -> None:
    """Of an animated PNG that may be a picture which the animation does not show."""
    frames = [Image.new("RGB", (SIDE, SIDE), colour) for colour in ("red", "lime", "blue")]
    options = {"default_image": True} if ending == "png" and hidden else {}
    frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:], **options)
    assert np.abs(read_picture(tmp_path / f"a.{ending}", 8, 3)[4, 4].astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("turned", range(1, 9))
def test_every_way_to_hold_a_camera_gives_the_same_picture(tmp_path: Path, ending: str, turned: int) -> None:
    scene = np.add.outer(np.arange(SIDE) * 5, np.arange(SIDE) * 2).astype(np.uint8)
    stored = [scene, scene[:, ::-1], scene[::-1, ::-1], scene[::-1], scene.T, np.rot90(scene), scene[::-1, ::-1].T,
              np.rot90(scene, -1)][turned - 1]  # fmt: skip
    exif = Image.Exif()
    exif[274] = turned
    options = {"tiffinfo": {274: turned}} if ending == "tif" else {"exif": exif}
    lossless = {"jpg": {"quality": 100}, "webp": {"lossless": True}}.get(ending, {})
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / f"a.{ending}", **options, **lossless)
    assert np.abs(read_picture(tmp_path / f"a.{ending}", SIDE, 1)[..., 0].astype(int) - scene).max() <= 3


@pytest.mark.parametrize("profile", ["sRGB", "LAB"])
def test_a_colour_profile_is_not_applied(tmp_path: Path, profile: str) -> None:
    from PIL import ImageCms

    content = ImageCms.ImageCmsProfile(ImageCms.createProfile(profile)).tobytes()
    Image.new("RGB", (SIDE, SIDE), (200, 100, 50)).save(tmp_path / "a.png", icc_profile=content)
    assert (read_picture(tmp_path / "a.png", 8, 3) == (200, 100, 50)).all()


@pytest.mark.parametrize("ending", ["jpg", "tif"])
def test_inks_are_turned_into_colours(tmp_path: Path, ending: str) -> None:
    """A JPEG of four inks has them upside down, which a reader must know."""
    inks = np.zeros((SIDE, SIDE, 4), np.uint8)
    inks[:, : SIDE // 2, 1:3] = 255  # magenta and yellow: red; the other half is bare paper
    Image.frombytes("CMYK", (SIDE, SIDE), inks.tobytes()).save(
        tmp_path / f"a.{ending}", **{"jpg": {"quality": 100}}.get(ending, {})
    )
    found = read_picture(tmp_path / f"a.{ending}", SIDE, 3).astype(int)
    assert np.abs(found[5, 5] - (255, 0, 0)).max() <= 3
    assert np.abs(found[5, -5] - (255, 255, 255)).max() <= 3
