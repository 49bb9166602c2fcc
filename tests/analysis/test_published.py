import csv
from pathlib import Path

import pytest
from support.published_boards import LINE, published

from bench.analysis.published import COLUMNS, DATASETS, FILE, PublishedError, results
from bench.matrix.catalogue import entries
from bench.store.columns import role

with FILE.open(encoding="utf-8", newline="") as text:
    RAW = list(csv.DictReader(text))


def test_datasets_and_columns_are_those_of_the_catalogue() -> None:
    assert set(DATASETS.values()) <= set(entries("datasets"))
    assert {row["dataset"] for row in RAW} == set(DATASETS)
    assert {row["metric"] for row in RAW} == set(COLUMNS)
    assert all(role(name) == "score" for result in results() for name in result.scores)


def test_every_value_of_the_file_is_there_once_as_a_share() -> None:
    """Counted and summed from the raw text, metric by metric."""
    known = {"recall_at_1": ("R@K 1", "P@1 1"), "recall_at_8": ("R@K 8",), "nmi": ("NMI ",), "map_at_r": ("MAP@R R",)}
    for column, names in known.items():
        raw = [float(row["value"]) for row in RAW if f"{row['metric']} {row['k']}" in names]
        found = [result.scores[column] for result in results() if column in result.scores]
        assert len(found) == len(raw) > 10
        assert 100 * sum(found) == pytest.approx(sum(raw))


def test_every_value_has_a_source_and_lies_in_its_range() -> None:
    assert all(result.source.startswith("https://") for result in results())
    assert all(0 < share <= 1 for result in results() for share in result.scores.values())
    assert all(1990 <= result.year <= 2100 for result in results())


def test_lines_of_one_result_are_put_together_and_blanks_are_unknown(tmp_path: Path) -> None:
    blank = {"backbone": "", "embedding_dim": ""}
    lines = [
        {},
        {"metric": "NMI", "k": "", "value": "70"},
        {"metric": "F1", "k": "", "value": "30"},
        {"metric": "RP", "k": "R", "value": "35"},
        {"method": "Another", **blank, "metric": "P@1", "ci95": "0.5"},
        {"method": "Another", **blank, "metric": "R@K", "k": "16"},
        {"method": "Not measured here", "metric": "MAP", "k": "", "value": "25"},
    ]
    first, second = results(published(tmp_path / "a.csv", *lines))
    assert dict(first.scores) == {"recall_at_1": 0.615, "nmi": 0.7, "r_precision": 0.35}
    assert (first.trunk, first.dim, first.dataset, first.crop) == ("ResNet50", 512, "cub200", None)
    assert dict(second.scores) == {"recall_at_1": 0.615, "recall_at_16": 0.615}
    assert (second.trunk, second.dim) == (None, None)
    assert dict(second.half_widths) == {"recall_at_1": 0.005}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"value": "0.615"}, "line 2: value: .*greater than 1"),
        ({"value": "161.5"}, "line 2: value: .*less than or equal to 100"),
        ({"value": "nan"}, "line 2: value: .*finite"),
        ({"value": "-3"}, "line 2: value"),
        ({"value": "61,5"}, "line 2: value: .*number"),
        ({"value": ""}, "line 2: value"),
        ({"source_url": ""}, "line 2: source_url"),
        ({"source_url": "http://example.org"}, "line 2: source_url"),
        ({"source_url": "javascript:alert(1)"}, "line 2: source_url"),
        ({"source_url": 'https://example.org/"onclick="x'}, "line 2: source_url"),
        ({"source_url": "https://example.org/a) b"}, "line 2: source_url"),
        ({"paper": " "}, "line 2: paper"),
        ({"method": ""}, "line 2: method"),
        ({"year": "20"}, "line 2: year"),
        ({"kind": "ensemble"}, "line 2: kind"),
        ({"dataset": "CUB"}, "line 2: dataset"),
        ({"metric": "Recall"}, "line 2: metric"),
        ({"k": ""}, "line 2: metric: .*needs its K"),
        ({"k": "0"}, "line 2: metric: .*needs its K"),
        ({"k": "²"}, "line 2: metric: .*needs its K"),
        ({"embedding_dim": "0"}, "line 2: embedding_dim"),
        ({"embedding_dim": "4 x 128"}, "line 2: embedding_dim"),
        ({"ci95": "-1"}, "line 2: ci95"),
        ({"colour": "red"}, "line 2: colour"),
    ],
)
def test_a_wrong_value_is_a_sentence_with_its_line(change: dict[str, str], says: str, tmp_path: Path) -> None:
    with pytest.raises(PublishedError, match=f"^a.csv, {says}") as raised:
        results(published(tmp_path / "a.csv", change))
    assert "\n" not in str(raised.value)


def test_a_value_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    for again in ({}, {"value": "62"}, {"metric": "P@1"}):
        with pytest.raises(PublishedError, match=r"line 3: .* is there twice"):
            results(published(tmp_path / f"{len(again)}{again.get('metric')}.csv", {}, again))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the column paper is missing"),
        (b"paper,year\nx,2020\n", "the column method is missing"),
        (",".join(LINE).encode() + b"\nx,2020\n", "line 2: has more or fewer fields"),
        (",".join(LINE).encode() + b"\n" + b"x," * 20 + b"\n", "line 2: has more or fewer fields"),
        (b"\xff\xfe\x00", "cannot be read"),
        (",".join(LINE).encode() + b'\n"x"y,1\n', "cannot be read"),
    ],
)
def test_a_damaged_file_is_a_sentence(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(PublishedError, match=says):
        results(tmp_path / "a.csv")
    with pytest.raises(PublishedError, match="cannot be read"):
        results(tmp_path / "missing.csv")
