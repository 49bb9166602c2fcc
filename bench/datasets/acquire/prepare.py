"""A dataset made ready: its files got where a host still serves them, its pictures decoded into the cache."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from bench.datasets.acquire.archives import UNPACKING, unpack
from bench.datasets.acquire.download import PATIENCE, Patience, Watch, download
from bench.datasets.acquire.partial_file import differs
from bench.datasets.acquire.sources import SOURCES, File, Source, present
from bench.datasets.acquire.steps import MEGABYTES, PICTURES, Unit
from bench.datasets.files.decode import watching
from bench.datasets.plugin_split import split_of
from bench.datasets.split import DataError, Split
from bench.matrix.catalogue import find
from bench.matrix.job import Part

__all__ = ["Stage", "prepare_dataset"]

Stage = Callable[[str, Unit], AbstractContextManager[Watch]]
"""Opens a step by its name and unit; what it gives is told how far the step is."""


def prepare_dataset(
    dataset: Part,
    data: Path | None,
    stage: Stage,
    *,
    sources: Mapping[str, Source] = SOURCES,
    patience: Patience = PATIENCE,
) -> Split:
    """Get what is absent of a set, decode its pictures, and give the split; from the cache, where it is decoded.

    Args:
        dataset: its name and all its parameters.
        data: data folder with one subfolder per dataset; made where there is none and something is to be downloaded.
        stage: shows the steps.
        sources: where the sets come from, by name.
        patience: with servers.

    Raises:
        DataError: the data is broken, or absent and not to be had; it says where to get it by hand and where to put it.
    """
    source = sources.get(dataset.name)
    if source is not None and data is not None and len(present(source, data)) < len(source.needs):
        for file in source.files:
            _obtain(dataset.name, file, source, data, stage, patience)
    with stage(f"{dataset.label}: decoding", PICTURES) as watch, watching(watch):
        return split_of(find("datasets", dataset.name), data, dataset.parameters)


def _obtain(name: str, file: File, source: Source, data: Path, stage: Stage, patience: Patience) -> None:
    """See that a file of a set, or the folder that its archive holds, is in its place."""
    place = data / file.place
    with _claimed(name, place.parent):
        if place.exists():
            return
        try:
            archive = _archive(name, file, place, stage, patience)
            if file.inside:
                with stage(f"{name}: unpacking {file.name}", MEGABYTES) as watch:
                    _unpack(archive, file, place, watch)
        except (DataError, OSError) as error:
            note = f" ({source.note})" if source.note else ""
            raise DataError(
                f"{name}: {error}; get {file.name} by hand from {source.page}{note}, put it in {place.parent}, and "
                "give the same command again."
            ) from error


def _archive(name: str, file: File, place: Path, stage: Stage, patience: Patience) -> Path:
    """The file, checked: the one that the user has put there, else one that is downloaded, hidden if it is to go."""
    brought = place.parent / file.name
    if brought.exists():
        if difference := differs(brought, file.digest):
            raise DataError(f"{brought} is not the published file ({difference})")
        return brought
    target = place.parent / (f".{file.name}" if file.inside else file.name)
    if not target.exists():
        with stage(f"{name}: {file.name}", MEGABYTES) as watch:
            download(file.urls, target, digest=file.digest, size=file.bytes, patience=patience, watch=watch)
    return target


def _unpack(archive: Path, file: File, place: Path, watch: Watch) -> None:
    """The archive becomes a folder; one that was downloaded goes, also where it is broken and no hash could tell."""
    ours = archive.name != file.name
    try:
        unpack(archive, file.inside, place, watch=watch)
    except DataError:
        if ours and not file.digest:
            archive.unlink()
        raise
    if ours:
        archive.unlink()


@contextmanager
def _claimed(name: str, folder: Path) -> Iterator[None]:
    """Nobody else gets files into this folder meanwhile; what a killed process has left in it is removed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise DataError(
            f"{name}: {folder} cannot be used ({error.strerror}): name another folder with --data."
        ) from error
    try:
        if not _locked(lock):
            raise DataError(f"{name}: another process is getting files into {folder}: wait until it ends.")
        for left in folder.glob(f"{UNPACKING}*"):
            shutil.rmtree(left, ignore_errors=True)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                folder.rmdir()  # where nothing has come of it, lest it looks like the set
    finally:
        os.close(lock)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems have no locks
        return True
    return True
