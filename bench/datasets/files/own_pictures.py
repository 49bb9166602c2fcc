"""Anybody's pictures made a split: those listed are read; what is left out, and what is doubtful, is told."""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.datasets.files.cache import cached
from bench.datasets.files.copied import Placed, copies
from bench.datasets.files.decode import DECODERS, REPAIR, read_pictures
from bench.datasets.files.picture_files import fingerprint
from bench.datasets.files.small_classes import kept, numbered, refuse_shared
from bench.datasets.files.wording import printable, some
from bench.datasets.split import DataError, Images, Split, reason

__all__ = ["Collection", "Reading", "own_split"]

PARTS = ("train", "test", "gallery")


class Reading(NamedTuple):
    """How the pictures are read."""

    size: int
    gray: bool
    min_images: int
    skip_broken: bool


class Collection(NamedTuple):
    """The pictures of a user, as a folder or a manifest names them."""

    dataset: str
    """Its loader, "folder" or "manifest"."""
    place: Path
    """The folder or the manifest, for sentences."""
    root: Path
    """What the paths are relative to."""
    pictures: Sequence[Placed]
    order: Sequence[str]
    """All labels, in the order of the classes."""
    names: Mapping[str, str]
    """Label -> name of the class."""
    texts: Mapping[str, str] | None
    """Label -> text."""
    notes: Mapping[str, str] = MappingProxyType({})


class ReadPart(NamedTuple):
    """What could be read of one part."""

    images: NDArray[np.uint8]
    pictures: list[Placed]


def own_split(found: Collection, reading: Reading, *, choice: Mapping[str, object] = MappingProxyType({})) -> Split:
    """The split, from the cache or from the pictures.

    Args:
        found: what there is.
        reading: how it is read.
        choice: parameters that decided which picture is in which part, for the identity in the cache.

    Raises:
        DataError: a picture is missing or cannot be read, or a side has fewer than two classes.
    """
    refuse_shared(found.place, ((one.label, one.part) for one in found.pictures))
    there = [os.path.isfile(found.root / one.path) for one in found.pictures]
    absent = [one.path for one, is_there in zip(found.pictures, there, strict=True) if not is_there]
    if absent and not reading.skip_broken:
        raise DataError(
            f"{found.place} has {len(absent):,} picture(s) that {_why_absent(found.root / absent[0])}, such as "
            f"{printable(absent[0])}: correct the paths, {REPAIR}."
        )
    present = list(compress(found.pictures, there))
    said = repr((found.pictures, found.order, found.names, found.texts, found.notes))
    identity = {
        "dataset": found.dataset,
        "name": printable(found.place.name),
        "content": [*_fingerprints(found.root, present), hashlib.sha256(os.fsencode(said)).hexdigest()],
        "decoders": DECODERS,
    }
    return cached({**identity, **reading._asdict(), **choice}, lambda: _split(found, reading, present, absent))


def _why_absent(picture: Path) -> str:
    try:
        os.stat(picture)
    except PermissionError as error:
        return f"cannot be opened ({reason(error)})"
    except (OSError, ValueError):
        return "are there, but are no files" if os.path.lexists(picture) else "are not there"
    return "are there, but are no files"


def _fingerprints(root: Path, pictures: Iterable[Placed]) -> list[str]:
    roots: dict[Path, list[Path]] = {}
    for place in (Path(one.path) for one in pictures):
        roots.setdefault(Path(place.anchor) if place.is_absolute() else root, []).append(place)
    return [fingerprint(above, [above / place for place in places]) for above, places in roots.items()]


def _split(found: Collection, reading: Reading, present: Sequence[Placed], absent: Sequence[str]) -> Split:
    parts = [part for part in PARTS if part != "gallery" or any(one.part == "gallery" for one in found.pictures)]
    listed = {part: [one for one in present if one.part == part] for part in parts}
    _verify_texts(found, _kept(found, reading, listed))  # before hours of decoding
    problems: dict[str, str] = {}
    read = {part: _read(found.root, reading, listed[part], problems) for part in parts}
    if problems and not reading.skip_broken:
        first = min(problems)
        raise DataError(
            f"{found.place} has {len(problems):,} picture(s) that cannot be read, such as {printable(first)} "
            f"({problems[first]}): {REPAIR}."
        )
    readable = {part: one.pictures for part, one in read.items()}
    labels = _kept(found, reading, readable)
    images = {part: _images(found, read[part], labels[part]) for part in parts}
    notes = {
        **found.notes,
        **_left_out(found, labels, [*absent, *problems]),
        **copies(found.root, [one for part in parts for one in readable[part]]),
    }
    return Split(images["train"], images["test"], images.get("gallery"), notes=notes)


def _read(root: Path, reading: Reading, pictures: Sequence[Placed], problems: dict[str, str]) -> ReadPart:
    decoded = read_pictures([root / one.path for one in pictures], reading.size, 1 if reading.gray else 3)
    problems.update({pictures[index].path: why for index, why in decoded.problems.items()})
    return ReadPart(decoded.images, list(compress(pictures, decoded.readable)))


def _kept(found: Collection, reading: Reading, parts: Mapping[str, Sequence[Placed]]) -> dict[str, list[str]]:
    """Part -> labels with enough pictures."""
    labels = {part: [one.label for one in pictures] for part, pictures in parts.items()}
    return kept(found.place, labels, order=found.order, least=reading.min_images)


def _verify_texts(found: Collection, labels: Mapping[str, Sequence[str]]) -> None:
    texts = found.texts
    silent = [label for kept in labels.values() for label in kept if texts is not None and label not in texts]
    if silent:
        raise DataError(f"{found.place} has no text for {len(silent):,} class(es), such as {silent[0]!r}: add them.")


def _images(found: Collection, part: ReadPart, labels: Sequence[str]) -> Images:
    """The pictures of the kept labels, numbered in their order."""
    names = tuple(printable(found.names[label]) for label in labels)
    texts = None if found.texts is None else tuple(found.texts[label] for label in labels)
    return Images(*numbered(part.images, (one.label for one in part.pictures), classes=labels), names, texts)


def _left_out(found: Collection, labels: Mapping[str, Sequence[str]], broken: Iterable[str]) -> dict[str, str]:
    small, unread = sorted(set(found.order).difference(*labels.values())), sorted(broken)
    said = {
        "classes left out": f"{len(small):,} with too few pictures: {some(small)}" if small else "",
        "pictures left out": f"{len(unread):,} that are missing or cannot be read: {some(unread)}" if unread else "",
    }
    return {key: note for key, note in said.items() if note}
