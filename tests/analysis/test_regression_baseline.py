"""What a baseline must have in common with a matrix; what differs is named."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.checked_runs import matrix, write_baseline

import bench
from bench import datasets
from bench.analysis.regression_baseline import Baseline, NotComparable, comparable
from bench.matrix import job as identity
from bench.matrix.expand import expand

JOBS = expand(matrix(seeds=3))
DATA = {JOBS[0].dataset.label: datasets.load(JOBS[0].dataset, None).sha}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return bench.load(write_baseline(tmp_path_factory.mktemp("baseline") / "b.parquet", seeds=3))


def compared(rows: pd.DataFrame, *, metric: str = "recall_at_1", data: dict[str, str] = DATA) -> Baseline:
    return comparable(rows, JOBS, source=Path("b.parquet"), metric=metric, data=data)


def test_methods_are_matched_by_cell_in_the_order_of_the_matrix(rows: pd.DataFrame) -> None:
    found = compared(rows.sample(frac=1, random_state=0).assign(objective="renamed"))
    assert [job.cell for job in found.jobs] == list(dict.fromkeys(job.cell for job in JOBS))
    assert (len(found.rows), found.absent) == (12, ())


def test_other_rows_do_not_count(rows: pd.DataFrame) -> None:
    others = rows.assign(key=rows["key"] + "x", cell=rows["cell"] + "x", recall_at_1=np.nan)
    assert len(compared(pd.concat([rows, others])).rows) == 12


def test_rows_stored_before_a_row_knew_its_job_are_not_this_matrix(rows: pd.DataFrame) -> None:
    with pytest.raises(NotComparable, match="stored by another version of bench, whose jobs this version cannot read"):
        compared(rows.assign(cell="unknown-0", job=None))


def test_another_protocol(rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    later = tuple(job.changed(protocol=2) for job in JOBS)
    with pytest.raises(NotComparable, match=r"^b\.parquet is not comparable: protocol 1 there, 2 here\.$"):
        comparable(rows, later, source=Path("b.parquet"), metric="recall_at_1", data=DATA)


def test_another_version_of_a_part(rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(identity.REVISIONS, "conv4", 2)
    with pytest.raises(NotComparable, match="it was measured by another version of bench, which computed something"):
        comparable(rows, expand(matrix(seeds=3)), source=Path("b.parquet"), metric="recall_at_1", data=DATA)


def test_other_data(rows: pd.DataFrame) -> None:
    with pytest.raises(NotComparable, match=r"measured on other data of glyphs\(.*whose images or labels have changed"):
        compared(rows, data=dict.fromkeys(DATA, "0" * 64))
    other = matrix(datasets=[{**matrix().datasets[0].parameters, "name": "glyphs", "classes": 13}])
    with pytest.raises(NotComparable, match="dataset classes is 12 there, 13 here"):
        comparable(rows, expand(other), source=Path("b.parquet"), metric="recall_at_1", data=DATA)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_is_named(rows: pd.DataFrame, value: float) -> None:
    bad = rows["objective"].eq("arc_face") & rows["seed"].eq(2)
    with pytest.raises(NotComparable, match=r"has a score recall_at_1 that is no number: arc_face seed 2\."):
        compared(rows.assign(recall_at_1=rows["recall_at_1"].where(~bad, value)))


@pytest.mark.parametrize("absent", [True, False])
def test_a_metric_that_is_missing(rows: pd.DataFrame, absent: bool) -> None:
    without = rows.drop(columns="recall_at_1") if absent else rows.assign(recall_at_1=np.nan)
    with pytest.raises(NotComparable, match=r"b\.parquet has no score recall_at_1; it has map_at_r\."):
        compared(without)


def test_no_rows_at_all(rows: pd.DataFrame) -> None:
    with pytest.raises(NotComparable, match=r"^b\.parquet has no rows\.$"):
        compared(rows.iloc[:0])
