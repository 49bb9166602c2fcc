"""In-Shop Clothes Retrieval, from the folder of its official release."""

from pathlib import Path, PurePosixPath
from typing import Annotated

from annotated_types import Ge

from bench.datasets.acquire.sources import SOURCES
from bench.datasets.files.published_lists import Listed, Photo, find_folder, read_list
from bench.datasets.files.published_photos import split_of
from bench.datasets.split import Split

__all__ = ["inshop"]

SOURCE = SOURCES["inshop"].where
PLACES = SOURCES["inshop"].places
COLUMNS = "image_name item_id evaluation_status"
PARTS = {"train": "train", "query": "test", "gallery": "gallery"}
"""Status in the list -> part of the split."""
COUNTS = {"train": (3997, 25882), "test": (3985, 14218), "gallery": (3985, 12612)}
"""Items and photos of each part."""


def inshop(data: Path | None, *, size: Annotated[int, Ge(8)] = 256) -> Split:
    """In-Shop: clothes as a shop shows them, DeepFashion (Liu et al., CVPR 2016; non-commercial research only).

    The published split: 3,997 items with 25,882 photos to train; of 3,985 others, 14,218 photos are queries and 12,612
    their gallery. Colour, [size, size, 3], the middle square. The pictures take 10 GB of the cache at the size 256. The
    set's terms forbid passing it on.

    Args:
        data: the folder that holds "In-shop Clothes Retrieval Benchmark", with Eval/list_eval_partition.txt and Img/img
            (or img), or a folder inshop with it or in its place.
        size: side of a picture in pixels.

    Raises:
        DataError: something of the set is missing, cannot be read, or is not as published.
    """
    root = find_folder("inshop", data, places=PLACES, source=SOURCE)
    header = (str(sum(photos for _, photos in COUNTS.values())), COLUMNS)
    rows = read_list(root / "Eval" / "list_eval_partition.txt", _row, source=SOURCE, header=header)
    parts: dict[str, list[Photo]] = {part: [] for part in COUNTS}
    above = PurePosixPath("" if (root / "img").is_dir() else "Img")
    for part, path, item in rows:
        parts[part].append(Photo((above / path).as_posix(), item))
    names = {item: f"id_{item:08}" for _, _, item in rows}
    return split_of(Listed("inshop", SOURCE, root, parts, names), counts=COUNTS, size=size)


def _row(columns: list[str]) -> tuple[str, str, int]:
    """Part of the split, path of the photo, number of its item."""
    path, item, status = columns
    if status not in PARTS or not item.startswith("id_"):
        raise ValueError
    return PARTS[status], path, int(item.removeprefix("id_"))
