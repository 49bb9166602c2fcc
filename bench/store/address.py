"""An address of results beyond the disks of this machine, such as s3://bucket/prefix, reached by way of fsspec.

fsspec is imported when an address is named, and not before. It takes credentials from the environment; what it says of
an error is told without them.
"""

import os
import re
import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from bench.store.job_folders import DRAFT, StoreError
from bench.store.processes import ours
from bench.store.publish import sweep_drafts
from bench.store.to_disk import to_disk

__all__ = ["Address", "Item", "address_in"]

FORM = re.compile(r"(?P<protocol>[a-z][a-z0-9+.-]+):/+(?P<rest>.*)", re.DOTALL)
"""A `Path` makes one slash of two. A single letter is a disk of Windows."""
ON_DISK = {"file", "local"}
WRITTEN = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "updated", "mtime", "created")
CHANGED = ("LastModified", "last_modified", "mtime", "created")
SECRET = re.compile("KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL", re.IGNORECASE)
"""In the name of a variable of the environment."""
LARGEST = 4096
"""Bytes that are read of a small object."""


def address_in(source: str | Path) -> str | None:
    """The address that is meant, as protocol://path; None where it is a file or folder.

    Raises:
        StoreError: it has a password in it.
    """
    found = FORM.fullmatch(os.fspath(source))
    if found is None:
        return None
    protocol, rest = found["protocol"], found["rest"].rstrip("/")
    if "@" in rest.partition("/")[0]:
        raise StoreError(
            f"{protocol}://: leave user and password out of the address; fsspec takes them from the environment"
        )
    return f"{protocol}:{'///' if protocol in ON_DISK else '//'}{rest}"


class Item(NamedTuple):
    """What is known of one object."""

    token: str
    """Changes with the content."""
    changed: float
    """When, in seconds, by the clock of the address; 0 where it does not tell."""


class Address:
    """Objects below an address, by their names relative to it.

    An object is seen whole or not at all, also after a kill. Every method raises StoreError where the address cannot be
    used.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def on_disk(self) -> bool:
        """Whether its objects are files."""
        return self.text.partition(":")[0] in ON_DISK

    @cached_property
    def files(self) -> tuple[Any, str]:
        """The file system of fsspec, and the path of the address on it."""
        with self._told("used"):
            try:
                from fsspec.core import url_to_fs

                own = {"auto_mkdir": True} if self.on_disk else {}
                system, path = url_to_fs(self.text, use_listings_cache=False, **own)
            except ImportError as error:
                advice = "for s3 that is pip install 'lossbench[remote]'"
                raise StoreError(f"{self.text}: a package is missing ({error}); {advice}") from error
            except ValueError as error:
                raise StoreError(f"{self.text}: no such protocol; choose s3, gs or another one of fsspec") from error
        return system, path.rstrip("/")

    def listed(self, below: str = "") -> dict[str, Item]:
        """Name -> what is known, of all objects whose names begin with a folder's."""
        system, path = self.files
        with self._told("read"):
            try:
                found = system.find(f"{path}/{below}".rstrip("/"), detail=True)
            except FileNotFoundError:
                return {}
        return {name[len(path) + 1 :]: _item(info) for name, info in found.items()}

    def item(self, name: str) -> Item | None:
        """What is known of one object; None where there is none."""
        system, path = self.files
        with self._told("read"):
            try:
                return _item(system.info(f"{path}/{name}"))
            except FileNotFoundError:
                return None

    def get(self, pairs: Sequence[tuple[str, Path]]) -> None:
        """Copy objects to files."""
        system, path = self.files
        with self._told("read"):
            if pairs:
                system.get([f"{path}/{name}" for name, _ in pairs], [str(file) for _, file in pairs])

    def put(self, pairs: Sequence[tuple[Path, str]]) -> None:
        """Copy files to objects, in any order."""
        system, _ = self.files
        with self._told("written"), ExitStack() as stack:
            places = [stack.enter_context(self._written(name)) for _, name in pairs]
            if pairs:
                system.put([str(file) for file, _ in pairs], places)

    def remove(self, names: Collection[str]) -> None:
        """Remove objects, if they are there."""
        system, path = self.files
        with self._told("written"):
            for name in names:
                with suppress(FileNotFoundError):
                    system.rm_file(f"{path}/{name}")

    def read(self, name: str) -> bytes | None:
        """The content of a small object; None where there is none."""
        system, path = self.files
        with self._told("read"):
            try:
                return bytes(system.cat_file(f"{path}/{name}", start=0, end=LARGEST))
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Make a small object, or replace it."""
        system, _ = self.files
        with self._told("written"), self._written(name) as place:
            system.pipe_file(place, content)

    def sweep(self) -> None:
        """Remove what killed processes left of objects that were not whole."""
        if self.on_disk:
            with self._told("read"):
                sweep_drafts(Path(self.files[1]))

    @contextmanager
    def _written(self, name: str) -> Iterator[str]:
        """Where an object is to be written. A store of objects shows none before it is whole; a file is renamed."""
        _, path = self.files
        if not self.on_disk:
            yield f"{path}/{name}"
            return
        draft, place = Path(path, f"{DRAFT}{ours().mark}{secrets.token_hex(8)}"), Path(path, name)
        try:
            yield str(draft)
            to_disk(draft)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(draft, place)
        finally:
            draft.unlink(missing_ok=True)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Whatever goes wrong is one sentence, with nothing of the environment in it."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:  # each protocol has errors of its own
            why = without_secrets(str(error).strip().partition("\n")[0]) or type(error).__name__
            advice = "see its name, the network, and the credentials in the environment; nothing on this disk is lost"
            raise StoreError(f"{self.text}: cannot be {what} ({why}); {advice}") from None


def without_secrets(text: str) -> str:
    """The text without what the environment has in variables whose names speak of secrets."""
    for name, value in os.environ.items():
        if SECRET.search(name) and len(value) > 3:
            text = text.replace(value, f"${name}")
    return text


def _item(info: dict[str, Any]) -> Item:
    written = next((info[name] for name in WRITTEN if info.get(name)), "")
    changed = next((info[name] for name in CHANGED if info.get(name)), 0.0)
    seconds = changed.timestamp() if isinstance(changed, datetime) else changed
    return Item(f"{info['size']} {written}", seconds if isinstance(seconds, (int, float)) else 0.0)
