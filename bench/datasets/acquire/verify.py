"""Whether what is on disk of a dataset is whole: counts, every picture, published hashes, and the decoded cache."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile, ZipFile

from bench.datasets.acquire.inventory import decoded
from bench.datasets.acquire.partial_file import differs
from bench.datasets.acquire.prepare import Stage
from bench.datasets.acquire.sources import SOURCES, Source, present
from bench.datasets.acquire.steps import MEGABYTES, PICTURES
from bench.datasets.files import cache
from bench.datasets.files.columns import read_columns
from bench.datasets.files.decode import read_pictures, watching
from bench.datasets.files.file_kinds import ARCHIVE, is_picture
from bench.datasets.files.picture_files import picture_files
from bench.datasets.files.scratch import scratch_folder
from bench.datasets.files.wording import printable
from bench.datasets.plugin_split import split_of
from bench.datasets.split import DataError, are_vectors, remarks
from bench.matrix.cache_folder import cache_folder
from bench.matrix.catalogue import check, find
from bench.matrix.job import Part

__all__ = ["Verdict", "verify_dataset"]

NAMED = 20
"""Unreadable pictures that are named; the others are counted."""
SIDE = 8
"""Of the pictures that are decoded to see whether they can be: a small one shows it as well."""


class Verdict(NamedTuple):
    """What was found of one dataset."""

    dataset: str
    """Its label."""
    problems: list[str]
    """A sentence for each thing that is wrong with what is on disk."""
    checks: list[str]
    """What was found right."""
    remarks: list[str]
    """What could not be checked, or is worth knowing."""


def verify_dataset(
    dataset: Part, data: Path | None, stage: Stage, *, sources: Mapping[str, Source] = SOURCES
) -> Verdict:
    """Read all that is on disk of a dataset, and compare it with what was published and with what was decoded.

    Args:
        dataset: its name and all its parameters.
        data: data folder with one subfolder per dataset.
        stage: shows the steps, see `prepare`.
        sources: what was published, by name.

    Raises:
        DataError: `data` is None, but the dataset is one that lies there.
    """
    verdict = Verdict(dataset.label, [], [], [])
    source = sources.get(dataset.name)
    if source is not None and data is None:
        raise DataError(f"{dataset.name} needs the folder of the data sets: pass --data DIR or set BENCH_DATA.")
    if source is not None and data is not None:
        _hashes(source, data, stage, verdict)
    _pictures(dataset, data, source, stage, verdict)
    _cache(dataset.name, stage, verdict)
    return verdict


def _hashes(source: Source, data: Path, stage: Stage, verdict: Verdict) -> None:
    """Compare lists, labels and archives that are there with their published hashes, where there are any."""
    lists = dict(source.digests)
    kept = {file.name: file.digest for file in source.files if not file.inside and file.name not in lists}
    folders = [data / place for place in source.places]
    for name, digest in {**lists, **kept}.items():
        place = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if place is None:
            continue
        with stage(f"{verdict.dataset}: hash of {name}", MEGABYTES):
            difference = differs(place, digest)
        if not difference:
            verdict.checks.append(f"{place} is as published, by its hash")
        elif name in lists:
            verdict.problems.append(f"{place} is not as published ({difference}): get it again from {source.page}.")
        else:  # as good as the folder it unpacks to, of which no hash is asked either
            verdict.remarks.append(
                f"{place} is not the published archive byte for byte ({difference}), but may well hold the same"
            )
    if not lists and not kept and present(source, data):
        verdict.remarks.append("no hash of its lists is published: counts and pictures alone were checked")


def _pictures(dataset: Part, data: Path | None, source: Source | None, stage: Stage, verdict: Verdict) -> None:
    """Let the loader count and decode all, into a cache that is thrown away; where it fails, look at every picture."""
    try:
        with stage(f"{dataset.label}: pictures", PICTURES) as watch, watching(watch), _other_cache():
            split = split_of(find("datasets", dataset.name), data, _small(dataset))
    except DataError as error:
        verdict.problems.append(str(error))
        with stage(f"{dataset.label}: looking for unreadable pictures", PICTURES) as watch, watching(watch):
            verdict.problems.extend(_unreadable(dataset, data, source))
        return
    parts = {name: part for name, part in zip(("train", "test", "gallery"), split[:3], strict=True) if part is not None}
    noun = "vectors" if are_vectors(split) else "pictures"
    counts = (f"{len(part.classes):,} classes and {len(part.labels):,} {noun} for {n}" for n, part in parts.items())
    verdict.checks.append(f"all there and all readable: {', '.join(counts)}")
    verdict.remarks.extend(remarks(split))


def _cache(name: str, stage: Stage, verdict: Verdict) -> None:
    """Compare what is decoded, at whatever size, with the hash that was taken when it was."""
    for folder, split in decoded(name).items():
        with stage(f"{verdict.dataset}: {folder.name} in the cache", MEGABYTES):
            sha = "" if split is None else cache.digest(split)
        if split is None:
            verdict.problems.append(f"{folder} cannot be read as a decoded set: remove it, and it is decoded again.")
        elif sha != split.sha:
            verdict.problems.append(
                f"{folder} does not hold what was decoded (SHA-256 {sha[:12]}…, not {split.sha[:12]}…): remove it, and "
                "it is decoded again."
            )
        else:
            verdict.checks.append(f"{folder} in the cache holds what was decoded (SHA-256 {sha[:12]}…)")


def _small(dataset: Part) -> dict[str, Any]:
    """The parameters, at a size that is quick, where the dataset has it."""
    small = {**dataset.parameters, "size": SIDE}
    try:
        return check(find("datasets", dataset.name), small)
    except (LookupError, ValueError):
        return dict(dataset.parameters)


@contextmanager
def _other_cache() -> Iterator[None]:
    """An empty cache on the disk of the real one, so that everything is read anew."""
    before = os.environ.get("BENCH_CACHE")
    with scratch_folder(cache_folder()) as scratch:
        os.environ["BENCH_CACHE"] = scratch
        try:
            yield
        finally:
            os.environ.pop("BENCH_CACHE")
            if before is not None:
                os.environ["BENCH_CACHE"] = before


def _unreadable(dataset: Part, data: Path | None, source: Source | None) -> list[str]:
    """A sentence per folder, archive or manifest with pictures that cannot be read, the first of them named."""
    found = []
    for place in _places(dataset, data, source):
        names, sources = _listed(place)
        problems = read_pictures(sources, SIDE, 3).problems
        if problems:
            named = [f"{printable(names[index])} ({why})" for index, why in list(problems.items())[:NAMED]]
            more = f" and {len(problems) - NAMED:,} more" if len(problems) > NAMED else ""
            found.append(f"{place} has {len(problems):,} unreadable picture(s): {', '.join(named)}{more}.")
    return found


def _places(dataset: Part, data: Path | None, source: Source | None) -> list[Path]:
    if source is not None and data is not None:
        return present(source, data)
    path = None if dataset.name == "embeddings" else dataset.parameters.get("path")
    return [(data or Path()) / path] if path else []


def _listed(place: Path) -> tuple[list[str], Sequence[Path | bytes]]:
    """Names of the pictures of a folder, archive or manifest, and what they are read from; nothing for another file."""
    if place.is_dir():
        try:
            found = picture_files(place)
        except DataError:  # which the loader has said
            return [], []
        return [file.relative_to(place).as_posix() for file in found], found
    if place.suffix.lower() == ARCHIVE:
        return _zipped(place)
    try:
        names = read_columns(place, ("path", "label", "split"))["path"]
    except DataError:
        return [], []
    return names, [place.parent / name for name in names]


def _zipped(place: Path) -> tuple[list[str], list[bytes]]:
    try:
        with ZipFile(place) as archive:
            names = [name for name in archive.namelist() if is_picture(name)]
            return names, [_member(archive, name) for name in names]
    except (BadZipFile, OSError):
        return [], []


def _member(archive: ZipFile, name: str) -> bytes:
    """What a member holds; nothing, which is no picture, where it is damaged."""
    try:
        return archive.read(name)
    except Exception:  # damaged bytes can raise nearly anything in zlib and zipfile
        return b""
