"""Anybody's stored embeddings: vectors instead of pictures."""

import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, Lt
from numpy.typing import NDArray

from bench.datasets.files.cache import cached
from bench.datasets.files.columns import Columns, read_columns
from bench.datasets.files.copied_vectors import copies
from bench.datasets.files.file_kinds import PARQUET
from bench.datasets.files.picture_files import fingerprint
from bench.datasets.files.small_classes import kept, refuse_shared
from bench.datasets.files.split_columns import class_names, class_texts, in_order, parts
from bench.datasets.files.stable_choice import choose
from bench.datasets.files.text_file import read_text
from bench.datasets.files.there import is_file, own_file
from bench.datasets.files.vector_parts import read_parts
from bench.datasets.files.vectors_file import Vectors, open_vectors
from bench.datasets.files.wording import printable, some
from bench.datasets.split import DataError, Images, Split

__all__ = ["embeddings"]

READER = "1"
"""For the identity in the cache; raised when the same file becomes another split."""
PARTS = ("train", "test", "gallery")
TABLES = (".csv", ".parquet")


class Choice(NamedTuple):
    """What decides which vector is in which part."""

    named: bool
    """Whether the table was named, and so counts even where the vectors' own file holds labels."""
    min_images: int
    test_share: float
    seed: int


class Rows(NamedTuple):
    """What is said of each vector."""

    place: Path
    """The file that says it, for sentences."""
    columns: Columns
    """With "label" and "split"."""
    notes: dict[str, str]


def embeddings(
    data: Path | None,
    *,
    path: str,
    table: str | None = None,
    min_images: Annotated[int, Ge(1)] = 2,
    test_share: Annotated[float, Gt(0), Lt(1)] = 0.5,
    seed: Annotated[int, Ge(0)] = 0,
) -> Split:
    """Embeddings: your own vectors, stored by any model, from a .npy, .npz or Parquet file.

    .parquet: a column of lists `embedding`, or one float column per dimension. .npz: an array `embeddings`. Both hold
    a label for each vector, as `label` or `labels`, and may hold: split, train or test, and no label on both; role,
    query or gallery, which compares the test rows of the one with those of the other; class_name and text, one per
    class. .npy: the vectors; these columns are then in a CSV or Parquet, one row per vector, in the order of the
    vectors, which nothing can check. Without split, a share of the classes is the test side, and the split says so.
    Numbers become float32. What is left out or doubtful is counted in the notes of the split.

    Args:
        data: the folder that `path` is relative to.
        path: the file, absolute or inside `data`. All but .npz may be larger than memory.
        table: the CSV or Parquet of the labels, absolute or relative to the folder of the vectors; by default, where
            these hold no labels, the file of the same name that ends in .csv or .parquet.
        min_images: a class with fewer is left out; with roles a test class without a vector of either role is.
        test_share: of the classes, where there is no split.
        seed: chooses the classes of the test side, where there is no split.

    Raises:
        DataError: a file does not fit the above, a vector is not finite, a class is on both sides, or fewer than two
            are on one.
    """
    file = own_file(data, path, dataset="embeddings", what="the .npy, .npz or .parquet that holds the embeddings")
    tables = _tables(file, table)
    places = [file, *tables]
    choice = Choice(table is not None, min_images, test_share, seed)
    identity = {
        "dataset": "embeddings",
        "reader": READER,
        "names": [printable(place.name) for place in places],
        "content": [fingerprint(place.parent, [place]) for place in places],
        **choice._asdict(),
    }
    return cached(identity, lambda: _split(file, tables, choice))


def _tables(file: Path, table: str | None) -> list[Path]:
    """The table that was named, else those of the file's own name."""
    if table is None:
        return [place for end in TABLES if (place := file.with_suffix(end)) != file and is_file(place)]
    place = Path(os.path.abspath(file.parent / os.path.expanduser(table)))
    if not is_file(place):
        raise DataError(f"{place} is not a file: set table to the CSV or Parquet of the labels beside {file.name}.")
    return [place]


def _split(file: Path, tables: Sequence[Path], choice: Choice) -> Split:
    stored = open_vectors(file)
    rows = _rows(file, stored, tables, choice)
    labels, listed = rows.columns["label"], parts(rows.place, rows.columns)
    refuse_shared(rows.place, zip(labels, listed, strict=True))
    order, present = in_order(labels), [part for part in PARTS if part != "gallery" or part in listed]
    by_part = {part: [label for label, own in zip(labels, listed, strict=True) if own == part] for part in present}
    classes = kept(rows.place, by_part, order=order, least=choice.min_images, of="embeddings")
    codes, places, numbers = _numbered(labels, listed, order=order, classes=classes)
    names, texts = class_names(rows.place, rows.columns), class_texts(rows.place, rows.columns)
    read = read_parts(file, stored, places, count=len(present))
    images = [
        Images(
            read.vectors[number],
            numbers[places == number],
            tuple(printable(names[label]) for label in classes[part]),
            None if texts is None else tuple(texts[label] for label in classes[part]),
        )
        for number, part in enumerate(present)
    ]
    small = sorted(set(order).difference(*classes.values()))
    out = {"classes left out": f"{len(small):,} with too few embeddings: {some(small)}"} if small else {}
    notes = {**rows.notes, **out, **copies(read.hashes, places, codes, order), **read.notes}
    return Split(images[0], images[1], images[2] if len(images) > 2 else None, notes=notes)


def _rows(file: Path, stored: Vectors, tables: Sequence[Path], choice: Choice) -> Rows:
    notes = {"embeddings": file.name}
    if stored.columns is not None and not choice.named:
        place, columns = file, stored.columns()
    else:
        place = _the_one(file, tables)
        columns = read_columns(place, ("label",), ("split", "role", "class_name", "text"))
        doubt = "" if place.suffix.lower() in PARQUET else read_text(place).doubt
        notes |= {"table": place.name, **({"encoding": doubt} if doubt else {})}
    if stored.table is not None and stored.table.left_out:
        notes["columns"] = str(stored.table)
    columns["label"] = [unicodedata.normalize("NFC", label) for label in columns["label"]]
    if len(columns["label"]) != stored.rows:
        raise DataError(
            f"{file} holds {stored.rows:,} embeddings, but {place.name} {len(columns['label']):,} labels: give one "
            "label per embedding, in the same order."
        )
    if "split" not in columns:
        columns["split"], notes["sides"] = _by_share(columns["label"], choice)
    return Rows(place, columns, notes)


def _the_one(file: Path, tables: Sequence[Path]) -> Path:
    if len(tables) > 1:
        raise DataError(f"{file} has {tables[0].name} and {tables[1].name} beside it: set table to one of them.")
    if not tables:
        own = "" if file.suffix.lower() == ".npy" else "add them as 'label', or "
        raise DataError(
            f"{file} has no labels: {own}set table to a CSV or Parquet with a column label, one row per embedding in "
            "the same order."
        )
    return tables[0]


def _by_share(labels: Sequence[str], choice: Choice) -> tuple[list[str], str]:
    """The side of each row, by its class, and a note that says so."""
    counts = Counter(labels)
    large = [label for label in in_order(labels) if counts[label] >= choice.min_images]
    test = set(choose(large, round(choice.test_share * len(large)), choice.seed))
    said = f"there is no column split, so {len(test):,} of {len(large):,} classes, by seed {choice.seed}, are tested"
    return ["test" if label in test else "train" for label in labels], said


def _numbered(
    labels: Sequence[str], listed: Sequence[str], *, order: Sequence[str], classes: Mapping[str, Sequence[str]]
) -> tuple[NDArray[np.int64], NDArray[np.int8], NDArray[np.int64]]:
    """For each row: its label's place in `order`, the number of its part, -1 where left out, and that of its class."""
    code = {label: number for number, label in enumerate(order)}
    codes = np.array([code[label] for label in labels], np.int64)
    places, numbers = np.full(len(codes), -1, np.int8), np.full(len(codes), -1, np.int64)
    own = np.array([PARTS.index(part) for part in listed], np.int8)
    for number, part in enumerate(classes):
        of_code = np.full(len(order), -1, np.int64)
        of_code[[code[label] for label in classes[part]]] = np.arange(len(classes[part]))
        rows = (own == PARTS.index(part)) & (of_code[codes] >= 0)
        places[rows], numbers[rows] = number, of_code[codes[rows]]
    return codes, places, numbers
