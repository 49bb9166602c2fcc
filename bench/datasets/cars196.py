"""Cars196, also called Stanford Cars, from its official annotations and photos."""

from io import BytesIO
from pathlib import Path
from typing import Annotated

from annotated_types import Ge
from scipy.io import loadmat

from bench.datasets.acquire.sources import SOURCES
from bench.datasets.files.published_lists import Listed, Photo, by_class_id, find_folder
from bench.datasets.files.published_photos import split_of
from bench.datasets.split import DataError, Split, reason

__all__ = ["cars196"]

SOURCE = SOURCES["cars196"].where
PLACES = SOURCES["cars196"].places
COUNTS = {"train": (98, 8054), "test": (98, 8131)}
"""Classes and photos of each side."""


def cars196(data: Path | None, *, size: Annotated[int, Ge(8)] = 256) -> Split:
    """Cars196: cars of 196 models and years (Krause et al., 3dRR at ICCV 2013; non-commercial research only).

    The field's split: classes 1 to 98 train, 8,054 photos, classes 99 to 196 test, 8,131; the set's own halves of each
    class are put together. Colour, [size, size, 3], the middle square of the whole photo; bounding boxes are not used.

    Args:
        data: the folder that holds the folder cars196, with cars_annos.mat and car_ims.
        size: side of a picture in pixels.

    Raises:
        DataError: something of the set is missing, cannot be read, or is not as published.
    """
    root = find_folder("cars196", data, places=PLACES, source=SOURCE)
    photos, names = _annotations(root / "cars_annos.mat")
    parts = by_class_id(photos, last=COUNTS["train"][0])
    return split_of(Listed("cars196", SOURCE, root, parts, names), counts=COUNTS, size=size)


def _annotations(file: Path) -> tuple[list[Photo], dict[int, str]]:
    """All photos, and class id -> name."""
    try:
        content = loadmat(BytesIO(file.read_bytes()), squeeze_me=True, variable_names=["annotations", "class_names"])
        rows = content["annotations"]
        labelled = zip(rows["relative_im_path"].tolist(), rows["class"].tolist(), strict=True)
        photos = [Photo(str(path), int(label)) for path, label in labelled]
        return photos, dict(enumerate(map(str, content["class_names"].tolist()), start=1))
    except Exception as error:  # a broken file can raise nearly anything in SciPy's reader
        raise DataError(
            f"{file} cannot be read as the annotations of Cars196 ({reason(error)}): get it again from {SOURCE}."
        ) from error
