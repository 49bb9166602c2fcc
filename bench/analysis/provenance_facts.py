"""Where the numbers of a report come from: counts, versions, devices, commits and data hashes."""

from collections.abc import Iterable, Sequence

import pandas as pd

__all__ = ["facts"]

PACKAGES = {"python": "Python", "torch": "torch", "timm": "timm", "pytorch_metric_learning": "pytorch-metric-learning"}


def facts(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Name and value of each fact about `rows`, in the order to be read; where rows differ, every value is listed."""
    versions = (
        f"{name} {_listed(rows[column].dropna())}" for column, name in PACKAGES.items() if rows[column].notna().any()
    )
    candidates = (
        ("Rows", _counts(rows["status"])),
        ("Seeds", _listed(rows["seed"])),
        ("Protocol", _listed(rows["protocol"])),
        ("Versions", "; ".join(versions)),
        ("Devices", _listed(rows["device"].dropna())),
        ("Commits", _commits(rows)),
        ("Data", _data(rows)),
    )
    return [(name, value) for name, value in candidates if value]


def _listed(values: Iterable[object]) -> str:
    unique: Sequence[object] = sorted(set(values), key=lambda value: (isinstance(value, str), value))
    return ", ".join(map(str, unique))


def _counts(status: "pd.Series[str]") -> str:
    counts = status.value_counts()
    names = [name for name in ("done", "failed", "diverged", "skipped") if name in counts]
    return f"{len(status):,} ({', '.join(f'{counts[name]:,} {name}' for name in names)})"


def _commits(rows: pd.DataFrame) -> str:
    stated = rows[["commit", "dirty"]].dropna(subset=["commit"]).drop_duplicates()
    dirty = stated["dirty"].eq(True)
    return _listed(stated["commit"].astype(str).str[:10] + dirty.map({True: " with uncommitted changes", False: ""}))


def _data(rows: pd.DataFrame) -> str:
    read = rows[["dataset", "dataset_sha"]].dropna().drop_duplicates().astype(str)
    return _listed(read["dataset"] + " " + read["dataset_sha"].str[:8])
