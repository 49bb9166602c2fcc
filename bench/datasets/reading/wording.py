"""Names of files and classes in sentences."""

import re
import unicodedata
from collections.abc import Sequence

from bench.datasets.split import legible

__all__ = ["printable", "some"]

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def printable(name: str) -> str:
    """A name as it can be printed and stored: composed (NFC), on one line, bytes that are not UTF-8 as \\xNN."""
    composed = unicodedata.normalize("NFC", legible(name))
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), composed)


def some(names: Sequence[str]) -> str:
    """The first three, and how many more there are."""
    return ", ".join(map(printable, names[:3])) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
