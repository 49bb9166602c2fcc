"""What rows belong together, by their jobs, and what they are called: labels are for readers, and decide nothing."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import pandas as pd

from bench.analysis.older_jobs import older_jobs
from bench.analysis.settings import part_settings, told_apart
from bench.matrix.job import Job, Part

__all__ = ["Identified", "identify"]

Side = Literal["dataset", "backbone"]


class Identified(NamedTuple):
    """Rows with what they are, and the jobs behind them."""

    rows: pd.DataFrame
    """With `cell`, `place` (dataset, version of its data, backbone), and the labels and kinds to be shown."""
    jobs: Mapping[str, Job]
    """By key, where the job of a row is known."""


def identify(rows: pd.DataFrame, asked: Sequence[Job] = ()) -> Identified:
    """What each of `rows` is; the labels and the kind are those of the jobs `asked` for, else the stored ones.

    Of one cell under several stored labels the latest counts, and what was also run as a control is none.
    """
    jobs = _jobs(rows, asked)
    older = rows.loc[rows["job"].isna(), "key"]
    cells = older.map({key: jobs[key].cell for key in older if key in jobs}).reindex(rows.index).astype(object)
    named = _titled(rows.assign(cell=cells.where(cells.notna(), rows["cell"])), asked)
    dataset, backbone = _ids(rows, jobs, "dataset"), _ids(rows, jobs, "backbone")
    version = _versions(rows["dataset_sha"], dataset)
    labels = _labels(rows, dataset, jobs, asked, "dataset")
    return Identified(
        named.assign(
            place=dataset + version + backbone,
            dataset=labels.where(version == "", labels + " (data " + version.str[:8] + ")"),
            backbone=_labels(rows, backbone, jobs, asked, "backbone"),
        ),
        jobs,
    )


def _jobs(rows: pd.DataFrame, asked: Sequence[Job]) -> dict[str, Job]:
    given = {job.key: job for job in asked}
    others = rows[~rows["key"].isin(given)]
    texts = others[others["job"].notna()]
    stored = zip(texts["key"], map(Job.stored, texts["job"]), strict=True)
    return older_jobs(others) | {key: job for key, job in stored if job} | given


def _titled(rows: pd.DataFrame, asked: Sequence[Job]) -> pd.DataFrame:
    """Objective, kind and members of every cell."""
    ordered = rows.assign(plain=rows["kind"] != "control").sort_values(["plain", "started", "key"], na_position="first")
    last = ordered.drop_duplicates("cell", keep="last").set_index("cell")
    given = {job.cell: job for job in sorted(asked, key=lambda job: not job.control)}
    titles = {
        "objective": last["objective"].to_dict() | {cell: job.objective.label for cell, job in given.items()},
        "kind": last["kind"].to_dict() | {cell: job.role for cell, job in given.items()},
        "members": last["members"].to_dict() | {cell: job.member_labels for cell, job in given.items()},
    }
    return rows.assign(**{name: rows["cell"].map(found) for name, found in titles.items()})


def _ids(rows: pd.DataFrame, jobs: Mapping[str, Job], side: Side) -> "pd.Series[str]":
    """What the dataset or backbone of every row is; where its job is not known, the only one with its label."""
    known = rows["key"].map({key: getattr(job, side).digest for key, job in jobs.items()})
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


def _labels(
    rows: pd.DataFrame, ids: "pd.Series[str]", jobs: Mapping[str, Job], asked: Sequence[Job], side: Side
) -> "pd.Series[str]":
    """The label of every row's dataset or backbone; two that share one are told apart by their parameters."""
    ordered = (
        rows.assign(id=ids).sort_values(["started", "key"], na_position="first").drop_duplicates("id", keep="last")
    )
    given = {getattr(job, side).digest: getattr(job, side).label for job in asked}
    labels = dict(zip(ordered["id"], ordered[side].astype(str), strict=True)) | given
    labels = {one: labels[one] for one in ordered["id"]}
    parts: dict[str, Part] = {getattr(job, side).digest: getattr(job, side) for job in jobs.values()}
    for label in {label for label in labels.values() if list(labels.values()).count(label) > 1}:
        same = {one: part_settings(parts[one]) if one in parts else {} for one in labels if labels[one] == label}
        labels |= {one: f"{label} ({text})" for one, text in told_apart(same).items()}
    return ids.map(labels)
