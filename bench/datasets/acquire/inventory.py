"""What `bench data list` shows: every dataset, where it comes from, and what there is of it here."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bench.datasets.acquire.sources import SOURCES, Source, present
from bench.datasets.files import cache
from bench.datasets.split import Split, are_vectors
from bench.matrix.cache_folder import cache_folder
from bench.matrix.catalogue import entries

__all__ = ["decoded", "inventory", "inventory_lines"]


def decoded(name: str) -> dict[Path, Split | None]:
    """Folders of the cache that hold a dataset decoded -> what they hold; None where one cannot be read."""
    folders = sorted(cache_folder().glob(f"{name}-{'[0-9a-f]' * 16}"))
    return {folder: cache.read_cached(folder) for folder in folders}


def inventory(data: Path | None) -> list[dict[str, Any]]:
    """Every dataset of the catalogue as JSON values; "there" is None where that cannot be said.

    Args:
        data: data folder with one subfolder per dataset; without it nothing can be said of what is there.
    """
    return [
        {"name": entry.name, "label": entry.label, **_published(SOURCES.get(entry.name), data), **_sizes(entry.name)}
        for entry in entries("datasets").values()
    ]


def inventory_lines(found: Iterable[dict[str, Any]]) -> Iterator[str]:
    """For a terminal: a few lines per dataset."""
    for one in found:
        yield one["name"]
        yield f"    {one['label']}"
        if one["page"]:
            size = f", {one['bytes'] / 1e6:,.0f} MB to download" if one["bytes"] else ""
            yield f"      {one['classes']:,} classes, {one['images']:,} images{size}; licence: {one['licence']}"
            how = f"bench data prepare {one['name']}" if one["downloadable"] else f"by hand, for {one['note']}"
            yield f"      from {one['page']}; {how}"
            there = {True: "there", False: "not there", None: "name DATA with --data to see whether it is there"}
            yield f"      in DATA/{one['place']}: {there[one['there']]}"
        if one["decoded"]:
            yield f"      decoded at {', '.join(map(str, one['decoded']))} pixels"
        if one["widths"]:
            yield f"      in the cache: vectors of {' and '.join(f'{width:,}' for width in one['widths'])}"


def _sizes(name: str) -> dict[str, list[int]]:
    """Sides of the pictures, and widths of the vectors, that there are in the cache."""
    splits = [split for split in decoded(name).values() if split]
    sizes = {(are_vectors(split), split.train.images.shape[1]) for split in splits}
    kinds = {"decoded": False, "widths": True}
    return {key: sorted(size for own, size in sizes if own == kind) for key, kind in kinds.items()}


def _published(source: Source | None, data: Path | None) -> dict[str, Any]:
    """What the table of sources says; of a dataset that is made here, or the user's own, nothing."""
    if source is None:
        keys = ("classes", "images", "bytes", "licence", "page", "downloadable", "note", "place", "there")
        return dict.fromkeys(keys)
    return {
        **{key: getattr(source, key) for key in ("classes", "images", "bytes", "licence", "page", "downloadable")},
        "note": source.note,
        "place": source.places[0],
        "there": None if data is None else len(present(source, data)) == len(source.needs),
    }
