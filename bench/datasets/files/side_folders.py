"""Folders that are the sides of a split by their names: train, test, query, gallery."""

from collections.abc import Sequence
from pathlib import Path

from bench.datasets.files.wording import some
from bench.datasets.split import DataError

__all__ = ["sides"]

COMPLETE = (
    {"train": "train", "query": "test", "gallery": "gallery"},
    {"train": "train", "test": "test"},
)
"""Name of a folder -> the part of the split that it holds."""
SIDES = {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "query", "gallery"}


def sides(root: Path, folders: Sequence[Path]) -> dict[str, Path]:
    """Part of the split -> its folder, where the folders are sides, in whatever case; empty where they are classes.

    Raises:
        DataError: the folders are sides, but not those of a split; or two of them differ in case alone.
    """
    found: dict[str, list[Path]] = {}
    for place in folders:
        if place.name.casefold() in SIDES:
            found.setdefault(place.name.casefold(), []).append(place)
    twice = next((places for places in found.values() if len(places) > 1), None)
    if twice:
        raise DataError(
            f"{root} has {twice[0].name} and {twice[1].name}: rename one, as case makes no difference here."
        )
    for names in COMPLETE:
        if found.keys() >= names.keys():
            return {part: found[name][0] for name, part in names.items()}
    if len(found) > 1 or (found and len(found) == len(folders)):
        raise DataError(
            f"{root} has {some([place.name for places in found.values() for place in places])}, but not train and test "
            "(or train, query and gallery): rename the folder of the classes to test on to test, or put all classes "
            "into one folder, of which a share is then tested on."
        )
    return {}
