"""How metrics are written for a reader."""

from bench.matrix.catalogue import entries

__all__ = ["NONE", "metric_name"]

NONE = "–"
"""What stands where there is no number."""


def metric_name(metric: str) -> str:
    """The field's name of a metric column, as its docstring begins ("Recall@1", "MAP@R"); others read as stored."""
    stem, _, k = metric.rpartition("_")
    known = entries("metrics")
    if stem in known and k.isdigit() and "k" in known[stem].positional:
        return _name(stem).replace("@K", f"@{k}")
    return _name(metric) if metric in known else metric.replace("_", " ")


def _name(metric: str) -> str:
    return entries("metrics")[metric].label.partition(" (")[0]
