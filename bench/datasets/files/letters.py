"""Letters that can be told apart, in the twelve DejaVu text faces that matplotlib brings along."""

import unicodedata
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from fontTools.ttLib import TTFont
from numpy.typing import NDArray

__all__ = ["FACES", "SIDES", "distinct", "faces", "side", "version"]

FACES = (
    *("Sans", "Sans-Bold", "Sans-Oblique", "Sans-BoldOblique"),
    *("SansMono", "SansMono-Bold", "SansMono-Oblique", "SansMono-BoldOblique"),
    *("Serif", "Serif-Bold", "Serif-Italic", "Serif-BoldItalic"),
)
SIDES = {"LATIN": "train", "GREEK": "train", "CYRILLIC": "test", "ARMENIAN": "test", "GEORGIAN": "test"}
TOLERANCE = 0.02  # of the em; a fifth of a stem's width, under half a pixel of a 32-pixel picture

Outline = tuple[bytes, NDArray[np.int32]]


def faces() -> dict[str, Path]:
    """The font file of every face in FACES."""
    package = find_spec("matplotlib")  # to import it takes longer than all that a plan reads of its fonts
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).with_name("mpl-data") / "fonts" / "ttf"
    return {face: folder / f"DejaVu{face}.ttf" for face in FACES}


def version(file: Path) -> str:
    """The version that a font file states, such as "2.35"."""
    with TTFont(file, lazy=True) as font:
        return str(font["name"].getDebugName(5)).removeprefix("Version ")


def side(code: int) -> str | None:
    """The side, "train" or "test", of a letter of the five scripts by its code point; None for all else.

    Modifier letters are left out: most are a speck, or another letter made small.
    """
    character = chr(code)
    if unicodedata.category(character) not in {"Lu", "Ll", "Lt", "Lo"}:
        return None
    return SIDES.get(unicodedata.name(character, "").split(" ")[0])


@cache
def distinct() -> dict[int, list[str]]:
    """Code point -> the faces that have the letter, for letters that no face draws alike.

    Of letters whose outlines coincide in any face, wherever they stand and up to 2 % of the em, the first is kept and
    stands for all; letters of the train side come first, then code points. So no shape is in two classes.
    """
    letters: dict[int, dict[str, Outline]] = {}
    for face, file in faces().items():
        for code, outline in _outlines(file).items():
            letters.setdefault(code, {})[face] = outline
    kept: dict[int, list[str]] = {}
    seen: dict[tuple[str, bytes], list[NDArray[np.int32]]] = {}
    for code in sorted(letters, key=lambda code: (side(code) == "test", code)):
        outlines = letters[code]
        if any(_near(points, seen.get((face, kind), [])) for face, (kind, points) in outlines.items()):
            continue
        kept[code] = list(outlines)
        for face, (kind, points) in outlines.items():
            seen.setdefault((face, kind), []).append(points)
    return kept


def _near(points: NDArray[np.int32], others: list[NDArray[np.int32]]) -> bool:
    return any(np.abs(points - other).max() <= 1000 * TOLERANCE for other in others)


def _outlines(file: Path) -> dict[int, Outline]:
    """Code point -> kind and place of the outline's points, in thousandths of the em from its lower left corner."""
    with TTFont(file, lazy=True) as font:
        glyphs, unit = font["glyf"], font["head"].unitsPerEm
        read: dict[str, Outline] = {}
        outlines = {}
        for code, name in font.getBestCmap().items():
            if side(code) is not None:
                kind, points = _outline(glyphs, name, read)
                outlines[code] = (kind, (points - points.min(axis=0)) * 1000 // unit)
        return outlines


def _outline(glyphs: Any, name: str, read: dict[str, Outline]) -> Outline:
    """Points of a glyph and their kind (bit 0: on the curve, bit 1: last of its contour), parts put together.

    Most letters share parts, so that a part is read once: fontTools' own flattening takes twice as long.
    """
    if name not in read:
        glyph = glyphs[name]
        parts = glyph.components if glyph.isComposite() else []
        if parts and all(hasattr(part, "x") and not hasattr(part, "transform") for part in parts):
            outlines = [_outline(glyphs, part.glyphName, read) for part in parts]
            shifts = [np.array([part.x, part.y], np.int32) for part in parts]
            moved = [points + shift for (_, points), shift in zip(outlines, shifts, strict=True)]
            read[name] = b"".join(kind for kind, _ in outlines), np.concatenate(moved)
        else:
            points, ends, flags = glyph.getCoordinates(glyphs)
            kind = np.frombuffer(flags, np.uint8) & 1
            kind[ends] += 2
            read[name] = kind.tobytes(), np.array(points.array, np.int32).reshape(-1, 2)
    return read[name]
