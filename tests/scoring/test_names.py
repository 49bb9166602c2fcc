import pytest

from bench.scoring import metrics
from bench.scoring.names import metric_name


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("recall_at_1", "Recall@1"),
        ("recall_at_1000", "Recall@1000"),
        ("map_at_r", "MAP@R"),
        ("r_precision", "R-precision"),
        ("nmi", "NMI"),
        ("nmi_best", "nmi best"),
        ("recall_at_1_chance", "recall at 1 chance"),
        ("of_someone_else", "of someone else"),
    ],
)
def test_a_column_reads_as_the_field_writes_it(column: str, name: str) -> None:
    assert metric_name(column) == name


@pytest.mark.parametrize("name", metrics.__all__)
def test_every_metric_begins_with_its_name(name: str) -> None:
    assert metric_name(name) == getattr(metrics, name).__doc__.partition(" (")[0]
