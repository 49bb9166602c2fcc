"""Which columns of a wide table are the dimensions of an embedding: never an index, an id or a target by mistake."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bench.datasets.split import DataError

__all__ = ["Dimensions", "dimensions"]

SHOWN = 5
UNNUMBERED = ""
"""What all names without a number are grouped under."""


class Dimensions(NamedTuple):
    """Names of columns."""

    used: tuple[str, ...]
    """One per dimension, in the order of the file."""
    left_out: tuple[str, ...]
    """Of other types than floating point."""

    def __str__(self) -> str:
        """As a sentence: "embeddings are the 128 float columns e0 to e127; left out: image_id"."""
        span = self.used[0] if len(self.used) == 1 else f"{self.used[0]} to {self.used[-1]}"
        out = f"; left out: {_listed(self.left_out)}" if self.left_out else ""
        return f"embeddings are the {len(self.used):,} float columns {span}{out}"


def dimensions(file: Path, types: Mapping[str, Any]) -> Dimensions:
    """The float columns of a table whose columns have these pyarrow types, if they are named alike.

    Columns of one embedding are numbered (e0, e1, ...; 0, 1, ...), or none of them is.

    Raises:
        DataError: there are no float columns, or what may be the embedding is of another type; or some are named unlike
            the others: an id, a score or a target may be among them, which would count as a further dimension.
    """
    from pyarrow.types import is_floating

    used = tuple(name for name, kind in types.items() if is_floating(kind))
    _refuse_other_kinds(file, types)
    if not used:
        raise DataError(
            f"{file} has neither a column of lists 'embedding' nor float columns: store floats, one column per "
            "dimension, or one column of lists."
        )
    stems = _stems(used)
    if len(stems) > 1:
        most = max(stems.values(), key=len)
        odd = [name for name in used if name not in most]
        raise DataError(
            f"{file} has float columns {most[0]} to {most[-1]}, but also {_listed(odd)}: remove what is no dimension "
            "of the embedding, or store it as one column of lists named 'embedding'."
        )
    return Dimensions(used, tuple(name for name in types if name not in used))


def _refuse_other_kinds(file: Path, types: Mapping[str, Any]) -> None:
    """Lists under another name, or numbered columns of integers, are the embedding rather than what else is there."""
    from pyarrow.types import is_fixed_size_list, is_floating, is_integer, is_large_list, is_list

    lists = [name for name, kind in types.items() if is_list(kind) or is_large_list(kind) or is_fixed_size_list(kind)]
    if lists:
        raise DataError(
            f"{file} has no column of lists 'embedding', but {_listed(lists)}: give the one that holds the embeddings "
            "this name."
        )
    floats = _stems([name for name, kind in types.items() if is_floating(kind)])
    whole = _stems([name for name, kind in types.items() if is_integer(kind)])
    unlike = set(floats) <= {UNNUMBERED}
    for stem, names in whole.items():
        if stem != UNNUMBERED and (unlike or stem in floats or len(names) > sum(map(len, floats.values()))):
            raise DataError(
                f"{file} has {len(names):,} numbered column(s) of integers, such as {names[0]}: store them as floats "
                "if they are dimensions of the embedding, and remove them if not."
            )


def _stems(names: Iterable[str]) -> dict[str, list[str]]:
    """Names grouped by what they are without their numbers; those that have none together."""
    stems: dict[str, list[str]] = {}
    for name in names:
        stem = re.sub(r"\d+", "#", name)
        stems.setdefault(UNNUMBERED if stem == name else stem, []).append(name)
    return stems


def _listed(names: list[str] | tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
