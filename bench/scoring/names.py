"""How metrics are written for a reader."""

import re

__all__ = ["NONE", "metric_name"]

NAMES = {"map_at_r": "MAP@R", "r_precision": "R-precision", "nmi": "NMI", "ami": "AMI"}


NONE = "–"
"""What stands where there is no number."""


def metric_name(metric: str) -> str:
    """The field's name of a metric column: "Recall@1", "MAP@R"; an unknown one reads as it is stored."""
    recall = re.fullmatch(r"recall_at_(\d+)", metric)
    return f"Recall@{recall[1]}" if recall else NAMES.get(metric, metric.replace("_", " "))
