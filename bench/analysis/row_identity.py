"""What rows belong together, by their jobs, and what they are called: labels are for readers, and decide nothing."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import pandas as pd

from bench.analysis.differing_settings import part_settings, told_apart
from bench.analysis.older_jobs import older_jobs
from bench.matrix.job import Job, Part

__all__ = ["Identified", "identify"]

Side = Literal["dataset", "backbone"]


class Identified(NamedTuple):
    """Rows with what they are, and the jobs behind them."""

    rows: pd.DataFrame
    """With `cell`, `place` (dataset, version of its data, backbone), and the labels and kinds to be shown."""
    jobs: Mapping[str, Job]
    """By cell, a job of each, with one of its seeds, where it is known."""


def identify(rows: pd.DataFrame, asked: Sequence[Job] = ()) -> Identified:
    """What each of `rows` is; the labels and the kind are those of the jobs `asked` for, else the stored ones.

    Of one cell under several stored labels the latest counts, and what was also run as a control is none.
    """
    older = _older(rows, asked)
    cells = {key: job.cell for key, job in older.items()}
    whole = rows.assign(cell=[cells.get(key, cell) for key, cell in zip(rows["key"], rows["cell"], strict=True)])
    last = _last(whole)
    given = _by_cell(asked)
    jobs = _by_cell(older.values()) | _stored(last) | given
    named = whole.assign(
        objective=_named(whole, last["objective"], {cell: job.objective.label for cell, job in given.items()}),
        kind=_named(whole, last["kind"], {cell: job.role for cell, job in given.items()}),
        members=_named(whole, last["members"], {cell: job.member_labels for cell, job in given.items()}),
    )
    return Identified(_placed(named, jobs, given), jobs)


def _older(rows: pd.DataFrame, asked: Sequence[Job]) -> dict[str, Job]:
    """By key, the jobs of rows that have none stored."""
    lacking = set(rows.loc[rows["job"].isna(), "key"])
    given = {job.key: job for job in asked if job.key in lacking} if lacking else {}
    return older_jobs(rows[~rows["key"].isin(given)]) | given


def _by_cell(jobs: Iterable[Job]) -> dict[str, Job]:
    """One job of every cell, no control where there is another."""
    return {job.cell: job for job in sorted(jobs, key=lambda job: not job.control)}


def _last(rows: pd.DataFrame) -> pd.DataFrame:
    """Of every cell the row that names it: one that is no control, started last."""
    ordered = rows.assign(plain=rows["kind"] != "control").sort_values(["plain", "started", "key"], na_position="first")
    return ordered.drop_duplicates("cell", keep="last").set_index("cell")


def _stored(last: pd.DataFrame) -> dict[str, Job]:
    texts = last["job"].dropna()
    found = zip(texts.index, map(Job.stored, texts), strict=True)
    return {cell: job for cell, job in found if job and job.cell == cell}


def _named(rows: pd.DataFrame, stored: "pd.Series[Any]", given: dict[str, Any]) -> "pd.Series[Any]":
    return rows["cell"].map(stored.to_dict() | given)


def _placed(rows: pd.DataFrame, jobs: Mapping[str, Job], given: Mapping[str, Job]) -> pd.DataFrame:
    """The rows with their place, and the labels of their datasets and backbones."""
    dataset, backbone = _ids(rows, jobs, "dataset"), _ids(rows, jobs, "backbone")
    version = _versions(rows["dataset_sha"], dataset)
    labels = _labels(rows.assign(id=dataset), jobs, given, "dataset")
    return rows.assign(
        place=dataset + version + backbone,
        dataset=labels.where(version == "", labels + " (data " + version.str[:8] + ")"),
        backbone=_labels(rows.assign(id=backbone), jobs, given, "backbone"),
    )


def _ids(rows: pd.DataFrame, jobs: Mapping[str, Job], side: Side) -> "pd.Series[str]":
    """What the dataset or backbone of every row is; where its job is not known, the only one with its label."""
    known = rows["cell"].map({cell: getattr(job.digests, side) for cell, job in jobs.items()})
    by_label = known.dropna().groupby(rows[side]).unique()
    only = {label: found[0] for label, found in by_label.items() if len(found) == 1}
    others = rows[side].map({label: only.get(label, f"labelled {label}") for label in rows[side].unique()})
    return known.astype(object).where(known.notna(), others).astype(str)


def _versions(shas: "pd.Series[str]", datasets: "pd.Series[str]") -> "pd.Series[str]":
    """The hash of the data of every row where its dataset was stored in several versions, else "".

    A skipped or failed job may never have read the data; it belongs to the version that most jobs read.
    """
    found = shas.groupby(datasets)
    usual = datasets.map(found.agg(lambda known: min(known.dropna().mode(), default="")))
    return shas.where(shas.notna(), usual).astype(str).where(found.transform("nunique") > 1, "")


def _labels(rows: pd.DataFrame, jobs: Mapping[str, Job], given: Mapping[str, Job], side: Side) -> "pd.Series[str]":
    """The label of every row's dataset or backbone, by its `id`; two that share one are told apart by parameters."""
    ordered = rows.sort_values(["started", "key"], na_position="first").drop_duplicates("id", keep="last")
    asked = {getattr(job.digests, side): getattr(job, side).label for job in given.values()}
    stored = dict(zip(ordered["id"], ordered[side].astype(str), strict=True))
    labels = {one: asked.get(one, label) for one, label in stored.items()}
    parts: dict[str, Part] = {getattr(job.digests, side): getattr(job, side) for job in jobs.values()}
    for label in {label for label in labels.values() if list(labels.values()).count(label) > 1}:
        same = {one: part_settings(parts[one]) if one in parts else {} for one in labels if labels[one] == label}
        labels |= {one: f"{label} ({text})" for one, text in told_apart(same).items()}
    return rows["id"].map(labels)
