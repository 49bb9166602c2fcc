"""A file that is coming: what there is of it so far, of which address and version, and whether it is the right one."""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import NamedTuple

__all__ = ["Wanted", "differs"]


class Wanted(NamedTuple):
    """A file to be: where it goes, and what is known of it."""

    target: Path
    digest: str
    size: int | None

    @property
    def part(self) -> Path:
        """What has come of it so far."""
        return self.target.with_name(f".{self.target.name.removeprefix('.')}.part")

    @property
    def memo(self) -> Path:
        """Which address and version the part is of."""
        return self.part.with_name(f"{self.part.name}.json")

    @property
    def size_so_far(self) -> int:
        """Bytes that have come."""
        return self.part.stat().st_size if self.part.exists() else 0

    def remembered(self) -> dict[str, str]:
        """The "url" and "validator" of what has come; nothing where that cannot be said."""
        with contextlib.suppress(OSError, ValueError):
            memo = json.loads(self.memo.read_bytes())
            if isinstance(memo, dict):
                return memo
        return {}

    def discard(self) -> None:
        """Begin anew."""
        self.part.unlink(missing_ok=True)
        self.memo.unlink(missing_ok=True)

    def wrong(self) -> str:
        """What is wrong with what has come, taken for the whole file; empty where nothing is."""
        with self.part.open("rb") as file:
            beginning = file.read(512).lstrip().lower()
        if beginning.startswith((b"<!doctype html", b"<html")):
            return "sends a web page instead of the file, perhaps to log in or to agree"
        if self.size is not None and self.size_so_far != self.size:
            return f"sends {self.size_so_far:,} bytes, not the {self.size:,} of the published file"
        difference = differs(self.part, self.digest)
        return f"sends another file than the published one ({difference})" if difference else ""

    def keep(self) -> None:
        """Give the file its name."""
        self.part.replace(self.target)
        self.memo.unlink(missing_ok=True)


def differs(file: Path, digest: str) -> str:
    """How the hash of a file differs from the published one, for a sentence; empty where it does not."""
    algorithm, _, expected = digest.partition(":")
    if not expected:
        return ""
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, algorithm).hexdigest()
    name = algorithm.upper().replace("SHA", "SHA-")
    return "" if found == expected else f"{name} {found[:12]}…, not {expected[:12]}…"
