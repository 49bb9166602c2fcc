"""A folder out of a tar or zip archive: whole or not at all, and nothing outside of its place."""

import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from gzip import BadGzipFile
from pathlib import Path, PurePosixPath, PureWindowsPath
from stat import S_IFDIR, S_IFMT, S_IFREG
from tarfile import HeaderError, ReadError
from typing import IO, NamedTuple, Self

from bench.datasets.files.file_kinds import ARCHIVE
from bench.datasets.split import DataError

__all__ = ["UNPACKING", "unpack"]

UNPACKING = ".unpacking-"
"""How the folders begin in which archives are unpacked; one that is left is of a process that was killed."""


TIMES, HARMLESS = 100, 2**30
"""Unpacked, an archive may be so many times its size, and always so many bytes. Photos hardly shrink when packed."""


class Member(NamedTuple):
    """One entry of an archive."""

    name: str
    kind: str
    """file, folder, or other: a link, a device, a pipe."""
    size: int
    """Bytes when unpacked, as the archive says; more are not read."""
    open: Callable[[], IO[bytes] | None]


class StrictInfo(tarfile.TarInfo):
    """A header that tells of a broken one, which tarfile takes for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except HeaderError as error:
            if type(error).__name__ in {"InvalidHeaderError", "TruncatedHeaderError"}:  # which the stubs do not know
                raise ReadError(str(error)) from error
            raise


def unpack(
    archive: Path, inside: str, place: Path, *, watch: Callable[[int, int | None], None] = lambda _done, _total: None
) -> None:
    """Make the folder `inside` of the archive the folder `place`, which is not there yet, but its parent is.

    Its files are written as new files: modes, owners and times of the archive are not taken over. Until all are there
    they are in a folder beside `place`, which is removed whatever happens.

    Args:
        archive: a zip where the name ends in .zip, else a tar, compressed or not.
        inside: path in the archive; members outside of it are checked, but left out.
        place: where it goes.
        watch: called with the bytes of the archive that are read, and all.

    Raises:
        DataError: the archive is damaged, does not have that folder, or has a member that could come to lie elsewhere:
            an absolute path, one with "..", a link, a device. Or it is out of all proportion when unpacked, or the disk
            does not take it. Half a sentence, as what to do depends on the archive.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=UNPACKING, dir=place.parent, ignore_cleanup_errors=True) as scratch:
            free, unpacked = shutil.disk_usage(place.parent).free, 0
            with archive.open("rb") as file, _damage_named(archive):
                for member in (_zipped if archive.suffix.lower() == ARCHIVE else _tarred)(file):
                    _refuse_unsafe(archive, member)
                    if PurePosixPath(member.name).is_relative_to(inside):
                        unpacked += member.size
                        _refuse_too_large(archive, unpacked, free)
                        _write(member, Path(scratch, *PurePosixPath(member.name).parts))
                    watch(file.tell(), archive.stat().st_size)
            made = Path(scratch, inside)
            if not made.is_dir():
                raise DataError(f"{archive} has no folder {inside}")
            made.rename(place)
    except OSError as error:
        raise DataError(f"{archive} cannot be unpacked to {place} ({error.strerror or error})") from error


@contextmanager
def _damage_named(archive: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a broken archive can raise nearly anything in the standard library's readers
        if isinstance(error, DataError) or (isinstance(error, OSError) and not isinstance(error, BadGzipFile)):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(":")
        raise DataError(f"{archive} is damaged ({reason})") from error


def _tarred(file: IO[bytes]) -> Iterator[Member]:
    with tarfile.open(fileobj=file, mode="r:*", tarinfo=StrictInfo) as tar:
        for info in tar:
            kind = "file" if info.isreg() else "folder" if info.isdir() else "other"
            yield Member(info.name, kind, info.size, lambda info=info: tar.extractfile(info))  # type: ignore[misc]
        while tar.fileobj and tar.fileobj.read(2**20):  # to the end, where the checksum of gzip and xz is
            pass


def _zipped(file: IO[bytes]) -> Iterator[Member]:
    with zipfile.ZipFile(file) as packed:
        for info in packed.infolist():
            kinds = {0: "file", S_IFREG: "file", S_IFDIR: "folder"}  # by its Unix mode, where it has one
            kind = "folder" if info.is_dir() else kinds.get(S_IFMT(info.external_attr >> 16), "other")
            yield Member(info.filename, kind, info.file_size, lambda info=info: packed.open(info))  # type: ignore[misc]


def _refuse_unsafe(archive: Path, member: Member) -> None:
    path = PureWindowsPath(member.name)  # takes both kinds of slashes, and drives, for what they are
    if path.anchor or ".." in path.parts:
        raise DataError(f"{archive} is refused, for its member {member.name!r} leads out of the folder")
    if member.kind == "other":
        raise DataError(f"{archive} is refused, for its member {member.name!r} is a link or a device, not a file")


def _refuse_too_large(archive: Path, unpacked: int, free: int) -> None:
    """Before a member is written: an archive made to fill the disk never does."""
    size = archive.stat().st_size
    if unpacked > max(HARMLESS, TIMES * size):
        gigabytes = f"{unpacked / 1e9:.1f} GB or more out of {size / 1e6:.1f} MB"
        raise DataError(f"{archive} is refused, for it would unpack to {gigabytes}")
    if unpacked > free:
        raise DataError(
            f"{archive} unpacks to {unpacked / 1e9:.1f} GB or more, and the disk has {free / 1e9:.1f} GB free"
        )


def _write(member: Member, place: Path) -> None:
    if member.kind == "folder":
        place.mkdir(parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    if source is not None:
        with source, place.open("wb") as target:
            shutil.copyfileobj(source, target, 2**20)
