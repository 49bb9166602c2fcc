"""Rows for readers: whoever wrote them, their texts can be printed anywhere."""

import pandas as pd
import pyarrow as pa

from bench.matrix.printable import without_control
from bench.store.columns import types

__all__ = ["readable"]

LISTS = ("members",)
SAFE = ("key", "cell", "job", "recipe")
"""Names that the form of a key bounds, and JSON, which escapes what cannot be printed."""
TEXTS = tuple(name for name, kind in types().items() if kind == pa.string() and name not in SAFE)


def readable(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` with the control characters of their texts as escapes; no new labels have any."""
    changed = {}
    for name in TEXTS:
        found = {text: without_control(text) for text in rows[name].dropna().unique()} if name in rows else {}
        if any(text != shown for text, shown in found.items()):
            changed[name] = rows[name].map(found)
    for name in LISTS:
        lists = [] if name not in rows else [one for one in rows[name] if one is not None]
        if any(text != without_control(text) for one in lists for text in one):
            changed[name] = rows[name].map(_shown, na_action="ignore")
    return rows.assign(**changed)


def _shown(texts: list[str]) -> list[str]:
    return [without_control(text) for text in texts]
