"""Rows stored before a row knew its job: their jobs are found again, and proven."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.sample_rows import older, row, table

import bench
from bench.analysis.boards import boards
from bench.analysis.older_jobs import older_jobs, with_jobs
from bench.matrix.job import Job
from bench.report.markdown import markdown
from bench.store.rows_without_job import identified

RESULTS = Path(__file__).parents[2] / "results"


@pytest.mark.parametrize("file", ["reference", "small"])
def test_every_committed_row_finds_its_job_and_the_tables_do_not_change(tmp_path: Path, file: str) -> None:
    whole = pq.read_table(RESULTS / f"{file}.parquet")
    old = tmp_path / "old.parquet"
    pq.write_table(whole.drop_columns([name for name in ("job", "cell") if name in whole.column_names]), old)
    rows = bench.load(old)
    assert rows["job"].isna().all()
    assert rows["cell"].str.startswith("unknown-").all()
    found = with_jobs(rows)
    jobs = [Job.model_validate_json(text) for text in found["job"]]
    assert [job.key for job in jobs] == rows["key"].tolist()
    assert [job.cell for job in jobs] == found["cell"].tolist()
    labels = [(job.dataset.label, job.backbone.label, job.objective.label, job.role, job.seed) for job in jobs]
    columns = ["dataset", "backbone", "objective", "kind", "seed"]
    assert labels == list(rows[columns].itertuples(index=False, name=None))
    assert [list(job.member_labels) for job in jobs] == [list(members) for members in rows["members"]]
    assert markdown(boards(rows), title=file) == markdown(boards(found), title=file)


def test_a_packed_file_without_cells_and_hashes_of_data_is_read(tmp_path: Path) -> None:
    whole = pq.read_table(RESULTS / "small.parquet").drop_columns(["job", "cell"]).slice(0, 5)
    at = whole.column_names.index("dataset_sha")
    old = tmp_path / "old.parquet"
    pq.write_table(whole.set_column(at, "dataset_sha", pa.nulls(len(whole), pa.string())), old)
    assert bench.load(old)["cell"].str.startswith("unknown-").all()


def test_a_fallback_cell_never_pools_what_differs_in_anything_but_the_seed() -> None:
    one = row("triplet")
    others = [
        row("softmax"),
        row("triplet", dataset="omniglot"),
        row("triplet", dataset_sha="e" * 64),
        row("triplet", backbone="resnet18"),
        row("triplet", kind="control"),
        row("triplet", recipe={"epochs": 3}),
        row("triplet", protocol=2),
        row("triplet", members=["a"]),
    ]
    rows = identified(table(map(older, [one, row("triplet", 1), *others])))
    assert rows["cell"].iloc[0] == rows["cell"].iloc[1]
    assert rows["cell"].nunique() == 1 + len(others)


def test_rows_that_no_matrix_explains_have_no_job() -> None:
    rows = identified(table([older(row("triplet")), older(row("triplet", 1, recipe={"epochs": 3}), recipe='{"a": 1}')]))
    assert older_jobs(rows) == {}
    assert with_jobs(rows)["job"].isna().all()


def test_rows_that_have_their_jobs_are_left_as_they_are() -> None:
    rows = table([row("triplet")])
    assert older_jobs(rows) == {}
    pd.testing.assert_frame_equal(with_jobs(rows), rows)
