"""Which files are pictures and tables, by how their names end, and what to do with pictures that nothing here reads."""

from pathlib import Path

__all__ = ["ARCHIVE", "PARQUET", "PICTURES", "is_picture", "refused"]

PARQUET = frozenset([".parquet", ".pq"])
ARCHIVE = ".zip"

PICTURES = {
    **dict.fromkeys([".jpg", ".jpeg", ".jpe", ".jfif"], "JPEG"),
    ".mpo": "MPO",
    **dict.fromkeys([".png", ".apng"], "PNG"),
    ".bmp": "BMP",
    ".dib": "DIB",
    ".gif": "GIF",
    ".webp": "WEBP",
    **dict.fromkeys([".avif", ".avifs"], "AVIF"),
    **dict.fromkeys([".heic", ".heics", ".heif", ".hif"], "HEIF"),
    **dict.fromkeys([".tif", ".tiff"], "TIFF"),
    **dict.fromkeys([".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"], "JPEG2000"),
    **dict.fromkeys([".pbm", ".pgm", ".ppm", ".pnm"], "PPM"),
    **dict.fromkeys([".tga", ".icb", ".vda", ".vst"], "TGA"),
    ".qoi": "QOI",
    ".pcx": "PCX",
    ".sgi": "SGI",
}
"""How a name ends -> Pillow's name of the format."""

RAW = dict.fromkeys([".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"], "a camera's raw file")
DRAWN = dict.fromkeys([".svg", ".psd", ".jxl"], "a picture that is not read")
REFUSED = {**RAW, **DRAWN}
"""Endings of pictures that are named instead of read; of a raw file Pillow would read the thumbnail."""


def is_picture(name: str) -> bool:
    """Whether a file of this name is a picture, be it one that is read or not."""
    return Path(name).suffix.lower() in PICTURES.keys() | REFUSED.keys()


def refused(name: str) -> str:
    """Why a picture of this name is not read; empty where it is."""
    kind = REFUSED.get(Path(name).suffix.lower())
    return f"{kind}: export it as JPEG or PNG" if kind else ""
