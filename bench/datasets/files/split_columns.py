"""What the columns of a user's table say: the part of the split of each row, the name and the text of each class."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import inf
from pathlib import Path

from bench.datasets.files.columns import Columns, one_per_label
from bench.datasets.split import DataError

__all__ = ["class_names", "class_texts", "in_order", "parts"]

SPLITS = ("train", "test")
ROLES = {"query": "test", "gallery": "gallery"}
"""Role of a test row -> its part of the split."""


def parts(file: Path, columns: Columns) -> list[str]:
    """The part of each row, train, test or gallery, of the column split and perhaps role.

    Raises:
        DataError: an unknown word, or all test rows have one role.
    """
    split = columns["split"]
    _known(file, "split", split, SPLITS)
    roles = columns.get("role", [""] * len(split))
    tested = [role for role, side in zip(roles, split, strict=True) if side == "test"]
    if not any(tested):
        return split
    _known(file, "role", tested, tuple(ROLES))
    if len(set(tested)) < len(ROLES):
        raise DataError(f"{file} gives all test rows the role {tested[0]}: give some the other, or none a role.")
    return [ROLES[role] if side == "test" else side for role, side in zip(roles, split, strict=True)]


def _known(file: Path, column: str, values: Sequence[str], known: Sequence[str]) -> None:
    counts = Counter(value for value in values if value not in known)
    for value, times in counts.most_common(1):
        raise DataError(f"{file} has {times:,} row(s) with {column} {value!r}, not {' or '.join(known)}: change them.")


def in_order(labels: Iterable[str]) -> list[str]:
    """The distinct labels, in the order of the classes: whole numbers by size, then text."""
    return sorted(set(labels), key=lambda label: (float(label) if label.isdecimal() else inf, label))


def class_names(file: Path, columns: Columns) -> dict[str, str]:
    """Label -> name of the class, of the column class_name; the label itself where it is absent or names two alike.

    Raises:
        DataError: a label has two names.
    """
    labels = columns["label"]
    values = columns.get("class_name", [""] * len(labels))
    named = one_per_label(file, labels, values, column="class_name")
    names = {label: named.get(label, label) for label in labels}
    return names if len(set(names.values())) == len(names) else {label: label for label in labels}


def class_texts(file: Path, columns: Columns) -> dict[str, str] | None:
    """Label -> its text, of the column text; None where there is no such column.

    Raises:
        DataError: a label has none, or two.
    """
    if "text" not in columns:
        return None
    texts = one_per_label(file, columns["label"], columns["text"], column="text")
    silent = [label for label in dict.fromkeys(columns["label"]) if label not in texts]
    if silent:
        raise DataError(f"{file} has no text for {len(silent):,} label(s), such as {silent[0]!r}: add them.")
    return texts
