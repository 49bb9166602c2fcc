"""What each column is for, stated once."""

from pathlib import Path

import pytest
from support.sample_rows import row

import bench
from bench.scoring import metrics
from bench.store.columns import known, role, scores
from bench.store.row import Provenance, Row

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        *((name, "score") for name in ("recall_at_1", "recall_at_1000", "map_at_r", "nmi")),
        *((name, "beside") for name in ("nmi_sd", "ami_best", "recall_at_1_chance")),
        *((name, "selection") for name in ("recall_at_1_oracle", "recall_at_1_last", "validation_map_at_r", "epoch")),
        *((name, "cost") for name in ("seconds", "embedding_dim")),
        *((name, "identity") for name in ("key", "cell", "job", "seed")),
        *((name, None) for name in ("gpu_hours", "nmi_2", "recall_at_", "recall_at_one", "gpu_hours_sd", "_sd", "")),
    ],
)
def test_the_role_of_a_column(name: str, wanted: str | None) -> None:
    assert role(name) == wanted


def test_every_metric_is_a_score_without_being_listed_here() -> None:
    names = [f"{name}_3" if name == "recall_at" else name for name in metrics.__all__]
    assert set(scores(names)) == set(names)


def test_scores_are_in_the_order_of_their_source_and_of_k() -> None:
    names = ["ami", "recall_at_10", "gpu_hours", "nmi", "recall_at_2", "nmi_sd", "map_at_r"]
    assert scores(names) == ("recall_at_2", "recall_at_10", "map_at_r", "nmi", "ami")


@pytest.mark.parametrize("file", ["reference", "small"])
def test_every_stored_column_has_a_role(file: str) -> None:
    assert [name for name in bench.load(ROOT / "results" / f"{file}.parquet").columns if role(name) is None] == []


def test_every_field_of_a_row_has_a_column() -> None:
    fields = {*Row.model_fields, *Provenance.model_fields} - {"scores", "provenance"}
    assert fields - known().keys() == set()
    assert [name for name in row() if role(name) is None] == []
