"""Rows that were stored before a row knew its job: what is averaged over seeds then has to be told by labels."""

import hashlib

import pandas as pd

__all__ = ["identified"]

TOLD_BY = ("dataset", "dataset_sha", "backbone", "objective", "kind", "members", "recipe", "protocol")


def identified(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` with `job` and `cell`: where there is no cell, one of all that a row says of its job but the seed.

    Nothing is averaged wrongly so, but what differs in nothing else stays apart, as a relabelled objective does.
    `bench.analysis.older_jobs` finds the jobs themselves.
    """
    whole = rows.reindex(columns=[*rows.columns, *({"job", "cell"} - set(rows.columns))])
    lacking = whole["cell"].isna()
    if not lacking.any():
        return whole
    told = whole.loc[lacking].reindex(columns=list(TOLD_BY)).astype(str).fillna("").agg("\n".join, axis=1)
    cells = {text: f"unknown-{hashlib.sha256(text.encode()).hexdigest()[:12]}" for text in told.unique()}
    objects = whole.astype({"job": object, "cell": object})
    return objects.assign(cell=objects["cell"].where(~lacking, told.map(cells)))
