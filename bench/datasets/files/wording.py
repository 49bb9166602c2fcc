"""Names of files and classes in sentences."""

import unicodedata
from collections.abc import Sequence

from bench.datasets.split import legible, without_control

__all__ = ["printable", "some"]


def printable(name: str) -> str:
    """A name as it can be printed and stored: composed (NFC), on one line, bytes that are not UTF-8 as \\xNN."""
    return without_control(unicodedata.normalize("NFC", legible(name)))


def some(names: Sequence[str]) -> str:
    """The first three, and how many more there are."""
    return ", ".join(map(printable, names[:3])) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
