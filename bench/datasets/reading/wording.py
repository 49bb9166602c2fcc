"""Names of files and classes in sentences."""

import os
import unicodedata
from collections.abc import Sequence

__all__ = ["printable", "some"]


def printable(name: str) -> str:
    """A name as it can be printed and stored: composed (NFC), bytes that are not UTF-8 as \\xNN."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "backslashreplace"))


def some(names: Sequence[str]) -> str:
    """The first three, and how many more there are."""
    return ", ".join(map(printable, names[:3])) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
