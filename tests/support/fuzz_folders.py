"""Random folders of pictures, of which the right reading is known: read so, or refused in one sentence."""

import os
from collections import defaultdict
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from support.one_sentence import refused

from bench.datasets.folder import folder
from bench.datasets.split import DataError, left_out

__all__ = ["trial"]

Draws = np.random.Generator
CLASSES = ("mug", "blue mug", "ä", "e\u0301", "茶", "007", "7", "100%", "a,b", 'q"', "x.png", "-x", "line\nbreak", "😀")
GOOD = ("png", "PNG", "jpg", "JPEG", "jfif", "bmp", "gif", "webp", "tif")
OTHERS = ("notes.txt", "Thumbs.db", "a.json", "noending", "photo.png.bak", "movie.mov")


class Made(NamedTuple):
    """What was put into the folder."""

    good: dict[str, list[int]]
    """Class -> red of each picture that can be read."""
    broken: list[str]
    others: list[str]
    trap: bool
    """Whether something is there that must be refused whatever the options."""


def trial(draws: Draws, place: Path) -> str:
    """Fill an empty folder with classes and read it; what came of it, in a word."""
    root = place / "photos"
    made = _made(draws, root)
    skip = bool(draws.random() < 0.6)
    try:
        split = folder(None, path=str(root), size=8, skip_broken=skip, seed=int(draws.integers(9)))
    except DataError as error:
        return refused(error)
    assert not made.trap, "a folder that is met twice was read"
    assert skip or not made.broken, "a broken picture passed"
    said = left_out(split) or ""
    assert ("pictures left out" in said) == bool(made.broken), said
    assert (f"files left out: {len(made.others):,} that" in said) == bool(made.others), (said, made.others)
    kept = {_shown(name): sorted(reds) for name, reds in made.good.items() if len(reds) >= 2}
    found: dict[str, list[int]] = {}
    for part in (split.train, split.test):
        for number, name in enumerate(part.classes):
            found[name] = sorted(part.images[part.labels == number][:, 4, 4, 0].tolist())
    assert set(found) == set(kept), (set(found), set(kept))
    for name, reds in kept.items():
        assert np.abs(np.subtract(found[name], reds)).max() <= 4, name
    return "read"


def _shown(name: str) -> str:
    return name.replace("\n", "\\n").replace("e\u0301", "é")


def _made(draws: Draws, root: Path) -> Made:
    good: dict[str, list[int]] = defaultdict(list)
    broken: list[str] = []
    others: list[str] = []
    names = [CLASSES[one] for one in draws.choice(len(CLASSES), draws.integers(4, 9), replace=False)]
    for place, name in enumerate(names):
        for number in range(draws.integers(1, 6)):
            home = root / name / ("deep/er" if draws.random() < 0.1 else ".")
            home.mkdir(parents=True, exist_ok=True)
            stem = f"{number}{draws.choice(['', ' ', 'ä', '%20', '[1]', '-copy'])}"
            if draws.random() < 0.06:
                broken.append(_break(draws, home, stem))
            else:
                good[name].append(20 * place + number)
                _picture(home / f"{stem}.{draws.choice(GOOD)}", 20 * place + number)
    for _ in range(draws.integers(3) if draws.random() < 0.4 else 0):
        other = root / str(draws.choice([*names, "."])) / str(draws.choice(OTHERS))
        if other.parent.exists() and not other.exists():
            other.write_bytes(draws.bytes(20))
            others.append(other.name)
    if draws.random() < 0.3:
        (root / names[0]).mkdir(exist_ok=True)
        (root / names[0] / ".hidden.png").write_bytes(b"x")
    trap = draws.random() < 0.08
    if trap:
        (root / "again").symlink_to(str(draws.choice([".", "..", names[0]])), target_is_directory=True)
    return Made(good, broken, others, trap)


def _picture(place: Path, red: int) -> None:
    """With the alpha of a screenshot, the turn of a phone or a palette, where the format has them."""
    picture = Image.new("RGB", (10, 12), (red, 100, 60))
    ending = place.suffix.lower()
    if ending in (".png", ".webp", ".tif") and red % 3 == 0:
        picture = picture.convert("RGBA")
    elif ending in (".png", ".gif") and red % 3 == 1:
        picture = picture.convert("P", palette=Image.Palette.ADAPTIVE)
    exif = Image.Exif()
    exif[274] = red % 8 + 1
    options = {"exif": exif} if ending in (".jpg", ".jpeg", ".jfif", ".png", ".webp") else {}
    if ending in (".jpg", ".jpeg", ".jfif"):
        options["quality"] = 98
    picture.save(place, **options)


def _break(draws: Draws, home: Path, stem: str) -> str:
    """Something named as a picture that is none."""
    place = home / f"{stem}.{draws.choice(['png', 'jpg'])}"
    match draws.integers(6):
        case 0:
            place.touch()
        case 1:
            place.write_bytes(draws.bytes(100))
        case 2:
            place.symlink_to("nowhere")
        case 3:
            os.mkfifo(place)
        case 4:
            place = place.with_suffix(str(draws.choice([".dng", ".svg"])))
            place.write_bytes(b"II*\0")
        case _:
            noise = Image.fromarray(draws.integers(0, 256, (60, 60, 3), dtype=np.uint8))
            buffer = BytesIO()
            noise.save(buffer, "PNG" if place.suffix == ".png" else "JPEG")
            place.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    return place.name
