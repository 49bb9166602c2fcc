import os
import struct
import threading
import zlib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.datasets.files.decode import read_picture, read_pictures, watching
from bench.datasets.files.file_kinds import PICTURES
from bench.datasets.files.picture_files import fingerprint, picture_files

RED, BLUE = (250, 20, 10), (10, 30, 240)


def halves(size: tuple[int, int] = (40, 40)) -> Image.Image:
    """Red on the left, blue on the right."""
    picture = Image.new("RGB", size, RED)
    picture.paste(BLUE, (size[0] // 2, 0, size[0], size[1]))
    return picture


def near(pixel: np.ndarray, colour: tuple[int, ...], tolerance: int = 12) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() <= tolerance)


@pytest.mark.parametrize("ending", PICTURES)
def test_every_format_reads_alike(tmp_path: Path, ending: str) -> None:
    place, form = tmp_path / f"a{ending.upper()}", PICTURES[ending]
    Image.init()
    if form not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {form}")
    halves().save(place, form)
    picture = read_picture(place, 20, 3)
    assert picture.shape == (20, 20, 3)
    assert picture.dtype == np.uint8
    assert near(picture[10, 3], RED)
    assert near(picture[10, 16], BLUE)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "L", "LA", "1", "I;16", "I", "PA"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_reads_alike(tmp_path: Path, mode: str, channels: int) -> None:
    """A white left half and a black right half stay what they are in every mode."""
    place = tmp_path / ("a.tif" if mode in {"CMYK", "PA"} else "a.png")
    grey = Image.fromarray(np.repeat(np.repeat([[255, 0]], 20, 1), 40, 0).astype(np.uint8))
    if mode in {"I;16", "I"}:
        deep = np.asarray(grey).astype(np.uint16) * 257
        Image.fromarray(deep if mode == "I;16" else deep.astype(np.int32)).save(tmp_path / "a.tif")
        place = tmp_path / "a.tif"
    else:
        grey.convert("RGBA" if mode == "PA" else mode).save(place)
    picture = read_picture(place, 20, channels)
    assert picture.shape == (20, 20, channels)
    assert near(picture[10, 3], (255,) * channels, 2)
    assert near(picture[10, 16], (0,) * channels, 2)


def test_sixteen_bits_keep_their_greys(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)
    Image.fromarray(np.tile(ramp, (64, 1))).save(tmp_path / "a.png")
    assert np.abs(read_picture(tmp_path / "a.png", 64, 1)[0, :, 0].astype(int) - ramp // 257).max() <= 1


@pytest.mark.parametrize(("highest", "kind", "tags", "sentence"), [
    (1, np.float32, {}, ""),
    (255, np.float32, {341: 255}, ""),
    (255, np.float32, {}, "numbers from 0 to 255, and nothing says which is white"),
    (1.5, np.float32, {341: 1}, "numbers from 0 to 1.5, and nothing says which is white"),
    (np.nan, np.float32, {}, "nothing says which is white"),
    (65535, np.uint16, {}, ""),
    (4095, np.uint16, {281: 4095}, ""),
    (4095, np.uint16, {}, "nothing brighter than 4,095 of 65,535, perhaps 12 bits in a file of 16"),
    (1023, np.uint16, {}, "nothing brighter than 1,023 of 65,535, perhaps 10 bits"),
    (16383, np.uint16, {}, "perhaps 14 bits"),
    (5000, np.uint16, {281: 4095}, "numbers from 0 to 5,000, not 0 to 4,095"),
    (65535, np.int32, {}, ""),
    (100_000, np.int32, {}, "numbers from 0 to 100,000, not 0 to 65,535"),
    (-70_000, np.int32, {}, "numbers from -70,000 to 0, not 0 to 65,535"),
])  # fmt: skip
def test_deep_pictures_are_scaled_by_what_they_say_or_refused(
    tmp_path: Path, highest: float, kind: type, tags: dict[int, float], sentence: str
) -> None:
    ramp = np.tile(np.linspace(0, 1, 64), (64, 1))
    Image.fromarray((ramp * highest).astype(kind)).save(tmp_path / "a.tif", tiffinfo=tags)
    if sentence:
        with pytest.raises(ValueError, match=sentence):
            read_picture(tmp_path / "a.tif", 64, 1)
    else:
        assert np.abs(read_picture(tmp_path / "a.tif", 64, 1)[5, :, 0] - 255 * ramp[5]).max() <= 1


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
@pytest.mark.parametrize("highest", [0, 4095, 65535])
def test_twelve_bits_in_a_png_of_sixteen_are_refused(tmp_path: Path, colour_type: int, highest: int) -> None:
    """Of 16 bits per colour Pillow keeps the upper 8 alone, so that such a picture would be all but black."""
    ramp = np.tile(np.linspace(0, highest, 32), (32, 1))
    colours = np.repeat(ramp[..., None], 3 if colour_type & 2 else 1, 2)
    opaque = np.full((32, 32, 1), 65535)
    write_png16(tmp_path / "a.png", np.concatenate([colours, opaque], 2) if colour_type & 4 else colours, colour_type)
    if highest == 4095:
        with pytest.raises(ValueError, match="perhaps 12 bits in a file of 16: save it with 8 bits"):
            read_picture(tmp_path / "a.png", 32, 3)
    else:
        assert np.abs(read_picture(tmp_path / "a.png", 32, 3)[5, :, 1] - ramp[5] / 257).max() <= 1


def write_png16(place: Path, values: np.ndarray, colour_type: int) -> None:
    """Pillow writes no colour of 16 bits."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour_type, 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    place.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def test_what_pillow_warns_of_is_read_in_silence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Warnings are errors in these tests."""
    large, exif, palette = tmp_path / "large.png", tmp_path / "exif.jpg", tmp_path / "palette.png"
    Image.new("L", (10_000, 9_000), 77).save(large)
    halves().save(exif, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01")
    halves().convert("P").save(palette, transparency=bytes(256))
    for place in (large, exif, palette):
        assert read_pictures([place], 8, 3).problems == {}
    assert capfd.readouterr() == ("", "")


def heif(place: Path) -> None:
    place.write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))


def encapsulated(place: Path) -> None:
    halves().save(place.with_suffix(".eps"))
    place.with_suffix(".eps").rename(place)


@pytest.mark.parametrize(("name", "make", "why"), [
    ("empty.jpg", Path.touch, "an empty file"),
    ("text.jpg", lambda place: place.write_text("no picture at all"), "no picture"),
    ("photo.heic", heif, "HEIC: pip install pillow-heif, or export it as JPEG"),
    ("photo.jpg", heif, "HEIC: pip install pillow-heif, or export it as JPEG"),
    ("photo.dng", lambda place: halves().save(place, "TIFF"), "a camera's raw file: export it as JPEG or PNG"),
    ("drawing.svg", Path.touch, "a picture that is not read: export it as JPEG or PNG"),
    ("program.png", encapsulated, "no picture"),
    ("huge.png", lambda place: Image.new("1", (16_000, 12_000)).save(place), "more than 178,956,970 pixels: make"),
    ("pipe.png", os.mkfifo, "not a file"),
    ("folder.png", Path.mkdir, "not a file"),
    ("nowhere.png", lambda place: place.symlink_to("gone"), "No such file or directory"),
    ("loop.png", lambda place: place.symlink_to(place), "Too many levels of symbolic links"),
])  # fmt: skip
def test_why_a_picture_cannot_be_read(tmp_path: Path, name: str, make: Callable[[Path], object], why: str) -> None:
    if "HEIC" in why and find_spec("pillow_heif"):
        pytest.skip("pillow-heif is installed")
    make(tmp_path / name)
    (found,) = read_pictures([tmp_path / name], 8, 3).problems.values()
    assert found.startswith(why)


def test_heic_is_read_where_pillow_heif_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif").from_pillow(halves()).save(tmp_path / "a.heic")
    assert near(read_picture(tmp_path / "a.heic", 20, 3)[10, 3], RED)


@pytest.mark.parametrize("how", ["rgba", "palette", "palette bytes", "la"])
def test_transparency_is_laid_on_white(tmp_path: Path, how: str) -> None:
    place = tmp_path / "a.png"
    if how == "rgba":
        picture = halves().convert("RGBA")
        picture.paste((0, 0, 0, 0), (0, 0, 20, 40))
        picture.save(place)
    elif how == "la":
        picture = halves().convert("LA")
        picture.paste((0, 0), (0, 0, 20, 40))
        picture.save(place)
    else:
        picture = Image.new("P", (40, 40), 1)
        picture.putpalette([0, 0, 0, *BLUE])
        picture.paste(0, (0, 0, 20, 40))
        picture.save(place, transparency=0 if how == "palette" else b"\x00\xff")
    read_back = read_picture(place, 20, 3)
    assert near(read_back[10, 3], (255, 255, 255), 2)
    assert near(read_back[10, 16], (47, 47, 47) if how == "la" else BLUE, 6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int) -> None:
    """Stored turned by the inverse of its tag, a picture reads as if it had never been turned."""
    colours = np.array([[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [250, 250, 250]]], np.uint8)
    corners = Image.fromarray(colours.repeat(16, axis=0).repeat(16, axis=1))
    flip = Image.Transpose
    turns = [flip.FLIP_LEFT_RIGHT, flip.ROTATE_180, flip.FLIP_TOP_BOTTOM, flip.TRANSPOSE, flip.ROTATE_90]
    inverse = dict(enumerate([*turns, flip.TRANSVERSE, flip.ROTATE_270], start=2))
    stored = corners.transpose(inverse[orientation]) if orientation > 1 else corners
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    assert np.abs(read_picture(tmp_path / "a.jpg", 32, 3).astype(int) - np.asarray(corners)).max() < 60


def test_the_middle_square_is_taken(tmp_path: Path) -> None:
    wide = Image.new("RGB", (90, 30), "black")
    wide.paste(RED, (30, 0, 60, 30))
    wide.save(tmp_path / "wide.png")
    wide.rotate(90, expand=True).save(tmp_path / "tall.png")
    for name in ("wide.png", "tall.png"):
        assert (read_picture(tmp_path / name, 15, 3) == RED).all()


def test_reducing_averages_and_enlarging_works(tmp_path: Path) -> None:
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(tmp_path / "a.png")
    assert np.abs(read_picture(tmp_path / "a.png", 8, 1).astype(int) - 127).max() <= 2
    assert read_picture(tmp_path / "a.png", 200, 1).shape == (200, 200, 1)


def test_a_large_jpeg_is_still_itself(tmp_path: Path) -> None:
    halves((1600, 1200)).save(tmp_path / "a.jpg")
    picture = read_picture(tmp_path / "a.jpg", 32, 3)
    assert near(picture[16, 8], RED)
    assert near(picture[16, 24], BLUE)


@pytest.mark.parametrize("large", [False, True])
def test_many_are_read_in_order(tmp_path: Path, large: bool) -> None:
    noise = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(30)]
    for number, place in enumerate(paths):
        square = noise.integers(0, 255, (90, 90), np.uint8) if large else np.zeros((90, 90), np.uint8)
        square[30:60, 30:60] = number * 8
        Image.fromarray(square).save(place)
    images, readable, _ = read_pictures(paths, 9, 1)
    assert readable.all()
    assert images[:, 4, 4, 0].tolist() == [number * 8 for number in range(30)]
    assert np.array_equal(read_pictures([place.read_bytes() for place in paths], 9, 1).images, images)


def test_many_large_ones_are_kept_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halves().save(tmp_path / "a.png")
    kept = read_pictures([tmp_path / "a.png"] * 5, 16, 3).images
    monkeypatch.setattr("bench.datasets.files.scratch.IN_MEMORY_BYTES", 1000)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    mapped = read_pictures([tmp_path / "a.png"] * 5, 16, 3).images
    assert isinstance(mapped, np.memmap)
    assert np.array_equal(mapped, kept)
    assert not list((tmp_path / "cache").iterdir())


def broken(place: Path) -> dict[str, Path]:
    cut, empty, text = place / "cut.jpg", place / "empty.png", place / "text.gif"
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    cut.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    empty.touch()
    text.write_text("not a picture")
    short = place / "short.png"
    Image.fromarray(noise).save(short)
    short.write_bytes(short.read_bytes()[:900])
    return {"cut": cut, "empty": empty, "text": text, "short": short, "missing": place / "missing.jpg"}


@pytest.mark.parametrize("kind", ["cut", "empty", "text", "short", "missing"])
def test_a_broken_picture_is_named_or_left_out(tmp_path: Path, kind: str) -> None:
    good, bad = tmp_path / "good.png", broken(tmp_path)[kind]
    halves().save(good)
    images, readable, problems = read_pictures([good, bad, good], 8, 3)
    assert readable.tolist() == [True, False, True]
    assert list(problems) == [1]
    assert problems[1]
    assert str(bad) not in problems[1]
    assert np.array_equal(images[0], images[1])


@pytest.mark.parametrize("broken", [(), (0,), (39,), (0, 1, 2), (3, 4, 11, 30, 38), range(39)])
def test_broken_ones_among_many_large_are_left_out_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: Sequence[int]
) -> None:
    monkeypatch.setattr("bench.datasets.files.scratch.IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr("bench.datasets.files.decode.BLOCK_BYTES", 3 * 64)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    sources = []
    for number in range(40):
        buffer = BytesIO()
        Image.new("L", (8, 8), 6 * number).save(buffer, "PNG")
        sources.append(buffer.getvalue()[: 40 if number in broken else None])
    images, readable, _ = read_pictures(sources, 8, 1)
    assert isinstance(images, np.memmap)
    assert readable.tolist() == [number not in broken for number in range(40)]
    assert images[:, 4, 4, 0].tolist() == [6 * number for number in range(40) if number not in broken]


@pytest.mark.parametrize("threads", [False, True])
def test_a_watcher_hears_how_far_reading_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: bool) -> None:
    monkeypatch.setattr("bench.datasets.files.decode._worth_threads", lambda _: threads)
    halves().save(tmp_path / "good.png")
    (tmp_path / "bad.png").touch()
    sources = [tmp_path / "bad.png", *[tmp_path / "good.png"] * 39]
    heard: list[tuple[int, int, int]] = []

    def hear(done: int, total: int) -> None:
        heard.append((done, total, threading.get_ident()))

    with watching(hear):
        monkeypatch.setattr("bench.datasets.files.decode.REPORT_SECONDS", 0)
        read_pictures(sources, 8, 3)
        monkeypatch.setattr("bench.datasets.files.decode.REPORT_SECONDS", 1000)
        read_pictures(sources[:5], 8, 3)
        read_pictures([], 8, 3)
    read_pictures(sources[1:], 8, 3)
    assert heard == [(done, total, threading.get_ident()) for done, total in [*((n, 40) for n in range(1, 41)), (5, 5)]]


def test_nothing_to_read_is_no_error() -> None:
    assert read_pictures([], 8, 3).images.shape == (0, 8, 8, 3)


def test_only_pictures_are_listed_and_changes_are_noticed(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "a/1.png", "a/deep/3.webp", ".hidden/4.png", "a/.5.png", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = picture_files(tmp_path)
    assert [file.relative_to(tmp_path).as_posix() for file in found] == ["a/1.png", "a/deep/3.webp", "b/2.JPG"]
    before = fingerprint(tmp_path, found)
    assert fingerprint(tmp_path, picture_files(tmp_path)) == before
    assert fingerprint(tmp_path, found[1:]) != before
    found[0].write_bytes(b"xy")
    assert fingerprint(tmp_path, found) != before
