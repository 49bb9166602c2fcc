import io
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from stat import S_IFCHR, S_IFIFO, S_IFLNK, S_IFREG

import pytest

from bench.datasets.acquire.archives import unpack
from bench.datasets.split import DataError

GOOD = {"set/a.txt": b"a" * 1000, "set/deep/er/b.txt": b"b", "set/empty.txt": b"", "other/c.txt": b"c", "d.txt": b"d"}
TARS = [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"]
OUT = ["../evil", "set/../../evil", "/tmp/evil", "set/..", "..\\evil", "C:\\evil", "\\\\host\\evil"]
"""Names that lead out of the folder, here or on Windows."""

Entry = tuple[tarfile.TarInfo, bytes]


def file(name: str, content: bytes = b"x") -> Entry:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info, content


def special(name: str, kind: bytes, target: str = "") -> Entry:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def tar(root: Path, entries: Sequence[Entry], suffix: str = ".tar") -> Path:
    mode = {".tgz": "w:gz", ".tar": "w"}.get(suffix, f"w:{suffix.rpartition('.')[2]}")
    with tarfile.open(root / f"in{suffix}", mode) as packed:
        for info, content in entries:
            packed.addfile(info, io.BytesIO(content))
    return root / f"in{suffix}"


def zipped(root: Path, contents: dict[str, bytes], modes: dict[str, int] | None = None) -> Path:
    with zipfile.ZipFile(root / "in.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in contents.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (modes or {}).get(name, 0) << 16
            packed.writestr(info, content)
    return root / "in.zip"


def deflated(root: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(root / "in.zip", "w") as packed:
        for name, content in contents.items():
            packed.writestr(name, content, zipfile.ZIP_DEFLATED)
    return root / "in.zip"


def packed(root: Path, suffix: str) -> Path:
    return zipped(root, GOOD) if suffix == ".zip" else tar(root, [file(*entry) for entry in GOOD.items()], suffix)


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def refused(tmp_path: Path, archive: Path, sentence: str) -> None:
    """Nothing is left, neither in the place nor anywhere else."""
    before = tree(tmp_path)
    with pytest.raises(DataError, match=sentence):
        unpack(archive, "set", tmp_path / "data" / "place")
    assert list((tmp_path / "data").iterdir()) == []
    assert tree(tmp_path) == before


def refused_without_tree(root: Path, archive: Path, sentence: str) -> None:
    """The same of an archive that is too large to be read."""
    with pytest.raises(DataError, match=sentence):
        unpack(archive, "set", root / "data" / "place")
    assert list((root / "data").iterdir()) == []


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.mark.parametrize("suffix", [*TARS, ".zip"])
def test_the_folder_becomes_the_place(root: Path, suffix: str) -> None:
    told: list[tuple[int, int | None]] = []
    archive = packed(root, suffix)
    unpack(archive, "set", root / "data" / "place", watch=lambda done, total: told.append((done, total)))
    assert tree(root / "data") == {name.replace("set", "place"): GOOD[name] for name in GOOD if name.startswith("set/")}
    assert all(0 <= done <= total == archive.stat().st_size for done, total in told if total is not None)
    assert len(told) >= len(GOOD)


def test_a_deeper_folder_and_names_with_a_dot(root: Path) -> None:
    archive = tar(root, [special("./set/deep", tarfile.DIRTYPE), file("./set/deep/a.txt"), file("./set/b.txt")])
    unpack(archive, "set/deep", root / "data" / "place")
    assert tree(root / "data") == {"place/a.txt": b"x"}


def test_modes_and_owners_are_not_taken_over(root: Path) -> None:
    info, content = file("set/a.txt")
    info.mode, info.uid = 0o6777, 12345
    unpack(tar(root, [(info, content)]), "set", root / "data" / "place")
    stat = (root / "data" / "place" / "a.txt").stat()
    assert stat.st_uid == os.getuid()
    assert stat.st_mode & 0o7111 == 0


@pytest.mark.parametrize("name", OUT)
@pytest.mark.parametrize("write", [
    lambda root, name: tar(root, [file("set/a"), file(name)]),
    lambda root, name: tar(root, [file("set/a"), special(name, tarfile.DIRTYPE)]),
    lambda root, name: zipped(root, {"set/a": b"x", name: b"x"}),
])  # fmt: skip
def test_a_member_that_leads_out_refuses_all(root: Path, write: Callable[[Path, str], Path], name: str) -> None:
    refused(root, write(root, name), r"is refused, for its member .* leads out of the folder")


@pytest.mark.parametrize("kind", [
    tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"
])  # fmt: skip
@pytest.mark.parametrize("target", ["/etc/passwd", "../../..", "a.txt", "set/a.txt"])
@pytest.mark.parametrize("name", ["set/link", "other/link"])
def test_links_and_devices_refuse_all(root: Path, kind: bytes, target: str, name: str) -> None:
    """Also where the next member would be written through the link."""
    entries = [file("set/a.txt"), special(name, kind, target), file(f"{name}/evil")]
    refused(root, tar(root, entries), r"is refused, for its member .*link' is a link or a device")


@pytest.mark.parametrize("mode", [S_IFLNK | 0o777, S_IFCHR | 0o666, S_IFIFO])
def test_links_and_devices_in_a_zip_refuse_all(root: Path, mode: int) -> None:
    archive = zipped(root, {"set/a": b"x", "set/link": b"/etc/passwd"}, {"set/link": mode})
    refused(root, archive, r"its member 'set/link' is a link or a device")


def test_a_zip_with_modes_of_files_is_taken(root: Path) -> None:
    unpack(zipped(root, {"set/a": b"x"}, {"set/a": S_IFREG | 0o4755}), "set", root / "data" / "place")
    assert tree(root / "data") == {"place/a": b"x"}
    assert (root / "data" / "place" / "a").stat().st_mode & 0o7111 == 0


@pytest.mark.parametrize("suffix", [*TARS, ".zip"])
@pytest.mark.parametrize("kept", [0, 0.5, 0.9])
def test_an_archive_cut_short_leaves_nothing(root: Path, suffix: str, kept: float) -> None:
    archive = packed(root, suffix)
    content = archive.read_bytes()
    if suffix == ".tar":
        content = content[:2048]  # what follows the members is only padding
    archive.write_bytes(content[: int(kept * len(content))])
    refused(root, archive, rf"in{suffix} is damaged \(.+\)$")


def test_a_page_instead_of_an_archive_leaves_nothing(root: Path) -> None:
    for name in ("in.zip", "in.tgz"):
        (root / name).write_text("<!DOCTYPE html><title>Log in</title>" * 100)
        refused(root, root / name, rf"{name} is damaged")


def test_a_flipped_bit_is_noticed(root: Path) -> None:
    for suffix in (".zip", ".tar.gz"):
        archive = packed(root, suffix)
        content = bytearray(archive.read_bytes())
        content[60] ^= 4
        archive.write_bytes(content)
        refused(root, archive, "is damaged")


def test_an_archive_without_the_folder_leaves_nothing(root: Path) -> None:
    refused(root, tar(root, [file("another/a.txt"), file("settle/b.txt")]), "has no folder set$")
    refused(root, tar(root, [file("set")]), "has no folder set$")


def test_a_name_that_is_file_and_folder_leaves_nothing(root: Path) -> None:
    refused(root, tar(root, [file("set/a"), file("set/a/b")]), r"cannot be unpacked to .*place \(Not a directory|File")


def test_of_members_of_one_name_the_last_counts(root: Path) -> None:
    unpack(tar(root, [file("set/a", b"old"), file("set/a", b"new")]), "set", root / "data" / "place")
    assert tree(root / "data") == {"place/a": b"new"}


def test_a_place_that_is_taken_stays(root: Path) -> None:
    place = root / "data" / "place"
    place.mkdir()
    (place / "mine").write_text("mine")
    with pytest.raises(DataError, match=r"cannot be unpacked to .*place \(Directory not empty\)"):
        unpack(packed(root, ".zip"), "set", place)
    assert tree(root / "data") == {"place/mine": b"mine"}


@pytest.mark.parametrize("write", [
    lambda root: deflated(root, {"set/small": b"x", "set/huge": bytes(10**7)}),
    lambda root: tar(root, [file("set/small"), file("set/huge", bytes(10**7))], ".tar.gz"),
])  # fmt: skip
def test_an_archive_made_to_fill_the_disk_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], Path]
) -> None:
    """10 MB of zeros, packed to some 10 kB; only above a size that harms is the proportion looked at."""
    archive = write(root)
    monkeypatch.setattr("bench.datasets.acquire.archives.HARMLESS", 10**6)
    refused(root, archive, r"is refused, for it would unpack to 0\.0 GB or more out of 0\.0 MB$")
    monkeypatch.setattr("bench.datasets.acquire.archives.HARMLESS", 10**8)
    unpack(archive, "set", root / "data" / "place")
    assert (root / "data" / "place" / "huge").stat().st_size == 10**7


def test_a_size_that_an_archive_lies_about_is_not_exceeded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The central directory of a zip says 10 bytes of a file that has a million."""
    archive = deflated(root, {"set/huge": bytes(10**6)})
    honest = archive.read_bytes()
    assert honest.count((10**6).to_bytes(4, "little")) == 2
    archive.write_bytes(honest.replace((10**6).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    monkeypatch.setattr("bench.datasets.acquire.archives.HARMLESS", 10**5)
    refused(root, archive, r"in.zip is damaged")


def test_an_archive_larger_than_the_free_disk_is_refused_before_it_is_written(root: Path) -> None:
    """A tar with a hole: what it holds is larger than any disk, the file itself is small."""
    free = shutil.disk_usage(root).free
    info, _ = file("set/huge")
    info.size = free + 10**9
    archive = root / "in.tar"
    with archive.open("wb") as out:
        out.write(info.tobuf())
        out.truncate(info.size + 10240)
    if archive.stat().st_size != info.size + 10240:
        pytest.skip("this file system has no files with holes")
    refused_without_tree(root, archive, r"in.tar unpacks to .* GB or more, and the disk has .* GB free$")


def test_an_interruption_leaves_nothing(root: Path) -> None:
    def interrupt(_done: int, _total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(packed(root, ".zip"), "set", root / "data" / "place", watch=interrupt)
    assert list((root / "data").iterdir()) == []
