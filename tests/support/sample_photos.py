"""Small photos, one colour per class, at the paths that the lists of a set name."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bench.datasets.split import Images

STEPS = np.array([6, 6, 7])
COLOURS = int(STEPS.prod())


def colour(class_id: int) -> tuple[int, int, int]:
    """One of 252 colours, far enough apart for JPEG."""
    red, green, blue = np.unravel_index(class_id % COLOURS, STEPS)
    return 51 * int(red), 51 * int(green), 42 * int(blue)


def picture(place: Path, red: int) -> None:
    """A picture of one colour in a file that no other is like, by its path."""
    place.parent.mkdir(parents=True, exist_ok=True)
    info = PngInfo()
    info.add_text("path", os.fsencode(place))
    Image.new("RGB", (12, 10), (red, 100, 50)).save(place, "PNG", pnginfo=info)


def classes(root: Path, names: str, count: int = 3) -> Path:
    """Pictures of a class share a red of 10 times the letter's place in the alphabet."""
    for name in names:
        for number in range(count):
            picture(root / name / f"{number}.png", 10 * (ord(name) - ord("a")))
    return root


def lay(root: Path, photos: Iterable[tuple[str, int]]) -> None:
    """Photos at their paths below a folder, each of the colour of its class: links to one file per colour."""
    colours = root.parent / f"colours of {root.name}"
    colours.mkdir(parents=True, exist_ok=True)
    for path, class_id in photos:
        source = colours / f"{class_id % COLOURS}.jpg"
        if not source.exists():
            Image.new("RGB", (10, 8), colour(class_id)).save(source)
        place = root / path
        if not place.parent.exists():
            place.parent.mkdir(parents=True)
        os.link(source, place)


def shown(part: Images) -> list[int]:
    """The class id, modulo the number of colours, that each picture shows."""
    steps = np.rint(part.images[:, 4, 4] / [51, 51, 42]).astype(int)
    return np.ravel_multi_index(tuple(steps.T), tuple(STEPS)).tolist()


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def spoil(photo: Path) -> None:
    """Cut a photo short, but not those that are linked to the same file."""
    content = photo.read_bytes()
    photo.unlink()
    photo.write_bytes(content[:100])
