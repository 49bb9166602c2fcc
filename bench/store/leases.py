"""Which run has which job: one small file for each job under way, beside the folders of those that have ended.

The file is taken by linking and changed by renaming, which is safe on a shared disk. Its run renews it every few
seconds. Whoever watches it holds it for left behind when its content has not changed for a minute of the watcher's own
clock, so that clocks need not agree; or at once, when its process was one of this machine and has ended.
"""

import errno
import os
import platform
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.store.job_folders import DAY, DRAFT, KEY, unwritten
from bench.store.processes import Process, ours

__all__ = ["LEASE", "RENEW", "STALE", "Lease", "Leases", "leases", "sweep_leases"]

LEASE = ".lossbench-lease-"
"""How the name of a lease begins; the key of its job follows."""
RENEW = 15.0
"""Seconds between two renewals."""
STALE = 60.0
"""Seconds without one after which a lease is left behind."""
LARGEST = 4096
"""Bytes that are read of a lease."""


class Lease(BaseModel):
    """Who runs a job, and how far it is."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str
    host: str = Field(pattern=r"^[\w.-]*$")
    """The name of the machine, for readers: nothing that a terminal could take for a command."""
    place: str
    pid: int
    born: int
    run: str
    """A random name of the run."""
    started: datetime
    renewed: datetime
    """By the clock of its own machine, for readers."""
    count: int = 0
    """Of renewals: what a watcher sees change."""
    epochs: int = 0
    """Done so far."""
    of: int = 0

    @property
    def dead(self) -> bool:
        """Has its process ended for certain?"""
        return Process(self.place, self.pid, self.born).dead

    def said(self) -> str:
        """Who it is, as part of a sentence."""
        return f"{self.host}, process {self.pid}"


class Leases:
    """The leases of one run of a folder of results, and what it has seen of others'.

    A thread renews them from the first one on. `close` gives all of them back.
    """

    def __init__(self, results: Path) -> None:
        self.results = results
        self.held: dict[str, Lease] = {}
        self.seen: dict[str, tuple[bytes, float]] = {}
        """Of others, by key: the content, and since when it is so."""
        self.run = secrets.token_hex(8)
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.renewing: threading.Thread | None = None

    def claim(self, key: str, *, of: int = 0) -> bool:
        """Take the lease of a job, unless another run has it; one that was left behind is taken over.

        Raises:
            StoreError: it cannot be written.
        """
        file = self.results / f"{LEASE}{key}"
        with self.lock:
            if (content := _read(file)) is not None and not (self._left(key, content) and self._removed(file, content)):
                return False
            lease = self._new(key, of)
            try:
                if not self._linked(file, lease):
                    return False
            except OSError as error:
                raise unwritten(self.results, error) from error
            self.held[key] = lease
            self.seen.pop(key, None)
        if self.renewing is None:
            self.renewing = threading.Thread(target=self._renew_all, name="leases", daemon=True)
            self.renewing.start()
        return True

    def progress(self, key: str, epochs: int) -> None:
        """Note how far a job is; others see it with the next renewal."""
        with self.lock:
            if key in self.held:
                self.held[key] = self.held[key].model_copy(update={"epochs": epochs})

    def release(self, key: str) -> None:
        """Give a lease back; one that another run has taken over stays."""
        with self.lock:
            if self.held.pop(key, None) is not None and self._is_ours(file := self.results / f"{LEASE}{key}"):
                with suppress(OSError):  # the folder is gone, or not ours to write any more
                    file.unlink()

    def close(self) -> None:
        """Give all leases back."""
        self.over.set()
        if self.renewing is not None:
            self.renewing.join()
        for key in list(self.held):
            self.release(key)

    def other(self, key: str) -> Lease | None:
        """Who has a job; None where nobody has it, or its lease cannot be read."""
        content = _read(self.results / f"{LEASE}{key}")
        return None if content is None else _parsed(content)

    def _new(self, key: str, of: int) -> Lease:
        host, now = re.sub(r"[^\w.-]+", "_", platform.node()), datetime.now(UTC)
        return Lease(key=key, host=host, **ours()._asdict(), run=self.run, started=now, renewed=now, of=of)

    def _left(self, key: str, content: bytes) -> bool:
        lease = _parsed(content)
        before, since = self.seen.setdefault(key, (content, time.monotonic()))
        if before != content:
            self.seen[key] = (content, since := time.monotonic())
        return (lease is not None and lease.dead) or time.monotonic() - since >= STALE

    def _removed(self, file: Path, content: bytes) -> bool:
        """Take a lease away that was left behind, unless another run has just taken it over."""
        aside = self._draft()
        try:
            file.rename(aside)
        except OSError:
            return False
        found = _read(aside)
        if found != content:
            with suppress(OSError):  # yet another one has it by now
                os.link(aside, file)
        with suppress(OSError):
            aside.unlink()
        return found == content

    def _linked(self, file: Path, lease: Lease) -> bool:
        draft = self._written(lease)
        try:
            os.link(draft, file)
        except FileExistsError:
            return draft.stat().st_nlink > 1  # a shared disk may say so of a link that it has just made itself
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS}:
                raise
            return _created(file, lease)  # a disk without links
        finally:
            draft.unlink()
        return True

    def _written(self, lease: Lease) -> Path:
        draft = self._draft()
        try:
            draft.write_text(lease.model_dump_json(), encoding="utf-8")
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        return draft

    def _draft(self) -> Path:
        return self.results / f"{DRAFT}{ours().mark}{secrets.token_hex(4)}"

    def _is_ours(self, file: Path) -> bool:
        content = _read(file)
        lease = None if content is None else _parsed(content)
        return lease is not None and lease.run == self.run

    def _renew_all(self) -> None:
        while not self.over.wait(RENEW):
            for key in list(self.held):
                with self.lock, suppress(OSError):  # a disk that is full now may not be so next time
                    self._renew(key)

    def _renew(self, key: str) -> None:
        lease, file = self.held.get(key), self.results / f"{LEASE}{key}"
        if lease is None or not self._is_ours(file):
            return
        changed = {"count": lease.count + 1, "renewed": datetime.now(UTC)}
        self.held[key] = lease.model_copy(update=changed)
        os.replace(self._written(self.held[key]), file)


def leases(results: Path) -> dict[str, Lease]:
    """The leases that there are, by key; none where there is no such folder, and none that cannot be read."""
    contents = {file.name.removeprefix(LEASE): _read(file) for file in _files(results)}
    found = {key: _parsed(content) for key, content in contents.items() if content is not None}
    return {key: lease for key, lease in found.items() if lease is not None}


def sweep_leases(results: Path) -> None:
    """Remove leases that ended processes of this machine left, and those of others that nobody renewed for a day."""
    for file in _files(results):
        with suppress(OSError):  # another run has just removed it, or it is another user's
            lease = _parsed(_read(file) or b"")
            if lease is not None and (lease.dead or time.time() - file.stat().st_mtime > DAY):
                file.unlink()


def _files(results: Path) -> Iterator[Path]:
    try:
        names = os.listdir(results)
    except OSError:
        return
    for name in names:
        if name.startswith(LEASE) and KEY.fullmatch(name.removeprefix(LEASE)):
            yield results / name


def _read(file: Path) -> bytes | None:
    """The content of a lease; None where there is none, and nothing of what is no ordinary file."""
    try:
        number = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return b"" if file.is_symlink() else None
    except OSError:
        return b""
    try:
        return os.read(number, LARGEST)
    except OSError:
        return b""
    finally:
        os.close(number)


def _parsed(content: bytes) -> Lease | None:
    try:
        return Lease.model_validate_json(content)
    except ValidationError:
        return None


def _created(file: Path, lease: Lease) -> bool:
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(lease.model_dump_json())
    except FileExistsError:
        return False
    return True
