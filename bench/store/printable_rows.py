"""Rows for readers: whoever wrote them, their texts can be printed anywhere."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from bench.matrix.printable import without_control
from bench.store.columns import types

__all__ = ["readable"]

SAFE = ("key", "cell", "job", "recipe")
"""Names that the form of a key bounds, and JSON, which escapes what cannot be printed."""
TEXTS = tuple(name for name, kind in types().items() if kind == pa.string() and name not in SAFE)


def readable(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` with the control characters of their texts as escapes; no new labels have any.

    A row of which no members are stored, as in a file that others have written, has an empty list of them.
    """
    changed: dict[str, pd.Series[Any]] = {}
    for name in TEXTS:
        found = {text: without_control(text) for text in rows[name].dropna().unique()}
        if any(text != shown for text, shown in found.items()):
            changed[name] = rows[name].map(found)
    members = [[without_control(text) for text in labels] if np.ndim(labels) else [] for labels in rows["members"]]
    changed["members"] = pd.Series(members, rows.index, dtype=object)
    return rows.assign(**changed)
