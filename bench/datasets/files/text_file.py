"""Text as programs save it: in the encoding that the file says; one that it does not say is named."""

import re
from pathlib import Path
from typing import NamedTuple

from bench.datasets.split import DataError, reason

__all__ = ["TextFile", "read_text"]

MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe\0\0": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
OTHERS = {
    b"PK\x03\x04": "is a workbook or another zip archive: save the sheet as CSV (in Excel as CSV UTF-8)",
    b"\xd0\xcf\x11\xe0": "is an old workbook of Excel: save the sheet as CSV UTF-8",
    b"PAR1": "is Parquet: give it a name that ends in .parquet",
    b"\x1f\x8b": "is compressed: unpack it",
}
"""What a file that is no text begins with -> what to do."""


class TextFile(NamedTuple):
    """What a file says, and how it was read."""

    text: str
    doubt: str = ""
    """A sentence where the file does not say its encoding, and it is not UTF-8."""


def read_text(file: Path) -> TextFile:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark; else taken for Windows-1252.

    Raises:
        DataError: it cannot be read, is of another kind, or is in none of these encodings.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read ({reason(error)}): correct that, or name another file.") from error
    for beginning, what in OTHERS.items():
        if content.startswith(beginning):
            raise DataError(f"{file} {what}.")
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = TextFile(content.decode(encoding))
    except UnicodeDecodeError:
        text = _windows(file, content)
    if "\0" in text.text:
        raise DataError(f"{file} is not UTF-8 (it has zero bytes, as UTF-16 has): save it in that encoding.")
    return text


def _windows(file: Path, content: bytes) -> TextFile:
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8: save it in that encoding (in Excel as CSV UTF-8).") from error
    strange = re.search(r"[\w ]*[^\x00-\x7f][\w ]*", text)
    example = strange[0].strip() if strange else ""
    return TextFile(
        text, f"{file.name} is not UTF-8 and was taken for Windows-1252: save it as UTF-8 if {example!r} is wrong"
    )
