"""What the columns of results may hold, whoever wrote the file: the type of each, and the values that a job leaves."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bench.matrix.job import Kind
from bench.store.columns import Distance, Status, metric_of, role, types

__all__ = ["ESSENTIAL", "MisfitError", "fitted", "fitted_row", "unsound"]

ESSENTIAL = ("key", "dataset", "backbone", "objective", "kind", "seed", "recipe", "protocol", "status")
"""Columns that every row ever stored has, with a value in each row."""
MOST = 1e15
"""More than any count, and than any cost."""
SLACK = 1e-6
"""How far rounding may take a score beyond 1."""
TERMS = {"bool": "true or false", "int64": "whole numbers", "double": "numbers", "string": "texts"}
"""What the values of a column are, for sentences."""
WORDS: Mapping[str, tuple[str, ...]] = {
    "kind": (*get_args(Kind), "control"),
    "status": get_args(Status),
    "distance": get_args(Distance),
}
"""The values of columns that have few."""


class MisfitError(Exception):
    """A column is absent or of another type; the text says which, in a few words."""


def fitted_row(table: pa.Table) -> pa.Table:
    """Rows of results with the types that their columns ought to have; unknown columns stay as they are.

    Raises:
        MisfitError: a column that every row has is absent, or a known one holds something else.
    """
    if absent := [name for name in ESSENTIAL if name not in table.column_names]:
        raise MisfitError(f"has no column {absent[0]!r}")
    real = {name: pa.float64() for name in table.column_names if role(name) in ("score", "beside")}
    return fitted(table, {**real, **types()})


def fitted(table: pa.Table, kinds: Mapping[str, pa.DataType]) -> pa.Table:
    """The table with columns of these kinds where it has them; numbers are never made of texts.

    Raises:
        MisfitError: one holds something else.
    """
    for at, name in enumerate(table.column_names):
        kind = kinds.get(name)
        if kind is not None and table[name].type != kind:
            table = table.set_column(at, name, _cast(table[name], kind, name))
    return table


def _cast(column: pa.ChunkedArray, kind: pa.DataType, name: str) -> pa.ChunkedArray:
    try:
        if _family(column.type) in (_family(kind), "null", "lists of null" if pa.types.is_list(kind) else ""):
            return column.cast(kind)
    except pa.ArrowException:  # a number that has a fraction, or too many digits
        pass
    raise MisfitError(f"has {_terms(column.type)} in its column {name!r}, not {_terms(kind)}")


def _family(kind: pa.DataType) -> str:
    """What a type is, however wide; types of one family are cast where the values allow it."""
    if pa.types.is_dictionary(kind):
        return _family(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return f"lists of {_family(kind.value_type)}"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "numbers"
    return str(kind).removeprefix("large_").removesuffix("_view")


def _terms(kind: pa.DataType) -> str:
    return f"lists of {_terms(kind.value_type)}" if pa.types.is_list(kind) else TERMS.get(str(kind), f"{kind}")


def unsound(rows: pa.Table) -> dict[int, str]:
    """Of `rows` that are fitted: the number of each that holds what no job leaves, and the first such thing."""
    found: dict[int, str] = {}
    for name in rows.column_names:
        for mask, why in _faults(name, rows[name].combine_chunks()):
            for number in np.flatnonzero(mask).tolist():
                found.setdefault(number, why.format(name=name, value=_shown(rows[name][number].as_py())))
    return found


Fault = tuple[Any, str]
"""A mask over the rows, and what is wrong with those in it."""


def _faults(name: str, column: pa.Array) -> Iterator[Fault]:
    if name in ESSENTIAL and column.null_count:
        yield _true(column.is_null()), "has no value in its column {name!r}"
    if name in WORDS:
        strange = pc.and_(pc.is_valid(column), pc.invert(pc.is_in(column, pa.array(WORDS[name]))))
        yield _true(strange), f"has {{value}} for {{name!r}}, which is none of {', '.join(WORDS[name])}"
    elif name == "recipe":
        yield _no_objects(column), "has no JSON object in its column {name!r}"
    elif name in ("epoch", "members"):
        yield _lacking(column), "has {value} for {name!r}, with something in it that cannot be"
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        low, high = _range(name)
        values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        beyond = (values < low - SLACK) | (values > high + SLACK)
        span = f"from {low:g} up" if high >= MOST else f"from {low:g} to {high:g}"
        yield beyond, f"has {{value}} for {{name!r}}, where numbers {span} can be"


def _range(name: str) -> tuple[float, float]:
    """The least and the largest value of a column of numbers; of one that nobody here knows, any."""
    if (metric := metric_of(name)) is not None:
        return (0 if name.endswith("_sd") else -math.inf if metric.plugin else -1), 1
    purpose = role(name)
    if purpose is None or name == "seed":
        return (0 if purpose else -math.inf), math.inf
    return 0, 1 if purpose == "selection" else MOST


def _lacking(column: pa.Array) -> Any:
    """Lists with an element that is null, or a number below 0."""
    parents, inside = np.asarray(pc.list_parent_indices(column)), pc.list_flatten(column)
    wrong = inside.is_null()
    if pa.types.is_integer(inside.type):
        wrong = pc.or_kleene(wrong, pc.less(inside, 0))
    return np.isin(np.arange(len(column)), parents[_true(wrong)])


def _no_objects(column: pa.Array) -> Any:
    wrong = [text for text in column.unique().to_pylist() if text is not None and not _is_object(text)]
    return _true(pc.is_in(column, pa.array(wrong, pa.string())))


def _is_object(text: str) -> bool:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and _is_flat(found)


def _is_flat(value: Any, depth: int = 8) -> bool:
    """Is nothing nested deeper than this, and so deeper than what any matrix can say?"""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth > 0 and all(_is_flat(one, depth - 1) for one in inside)


def _true(mask: pa.Array) -> Any:
    return np.asarray(pc.fill_null(mask, False).to_numpy(zero_copy_only=False), dtype=bool)


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
