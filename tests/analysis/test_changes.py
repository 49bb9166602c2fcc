from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.sample_rows import row, table
from support.stored_boards import write_rows

from bench.analysis.boards import boards
from bench.analysis.changes import BoardChanges, changes
from bench.analysis.methods_of_rows import Source
from bench.analysis.two_methods import compare
from bench.report.changes import Since, change_sentences, change_table
from bench.report.markdown import markdown
from bench.report.page.page import page

BEFORE = {"kept": 0.70, "mended": 0.50, "went": 0.60, "longer": 0.55, "broken": 0.65}
AFTER = {"kept": 0.70, "mended": 0.75, "came": 0.40, "longer": 0.55, "broken": 0.45}
AGAIN = {"mended", "broken"}


def rows(levels: Mapping[str, float], *, started: str, seeds: int = 4, **others: Any) -> list[dict[str, Any]]:
    """Those of AGAIN ran at this time, the others long ago."""
    return [
        row(
            name,
            seed,
            recall_at_1=level + seed / 200,
            started=started if name in AGAIN else "2024-05-01T10:00:00Z",
            **others,
        )
        for name, level in levels.items()
        for seed in range(seeds + 1 if name == "longer" and started > "2025" else seeds)
    ]


OLDER, NEWER = rows(BEFORE, started="2024-06-01T10:00:00Z"), rows(AFTER, started="2025-06-01T10:00:00Z")


def held(newer: list[dict[str, Any]], older: list[dict[str, Any]]) -> list[BoardChanges]:
    return changes(Source(Path("new.parquet"), table(newer)), Source(Path("old.parquet"), table(older)))


def test_every_method_is_new_gone_or_held_against_itself(tmp_path: Path) -> None:
    (found,) = held(NEWER, OLDER)
    assert (found.new, found.gone, found.family) == (("came",), ("went",), 2)
    by_label = {one.label: one for one in found.changes}
    assert {label: one.verdict for label, one in by_label.items()} == {
        "mended": "better",
        "kept": "same runs",
        "longer": "more seeds",
        "broken": "worse",
    }
    assert {label: one.places for label, one in by_label.items()} == {
        "mended": (4, 1),
        "kept": (1, 2),
        "longer": (3, 3),
        "broken": (2, 4),
    }
    new, old = (write_rows(tmp_path / name, some) for name, some in (("new", NEWER), ("old", OLDER)))
    for label in AGAIN:
        (board,) = compare(label, label, results=new, against=old).boards
        (pair,) = board.pairs
        change = by_label[label]
        assert change.after - change.before == pytest.approx(pair.difference)
        assert change.half_width == pytest.approx((pair.interval.high - pair.interval.low) / 2, rel=0.02)


def test_a_board_on_other_data_is_not_compared() -> None:
    (found,) = held(NEWER, rows(BEFORE, started="2024-06-01T10:00:00Z", dataset_sha="e" * 64))
    assert found.changes == ()
    assert change_sentences(found) == [
        "Nothing is compared: the older rows have no board with this data, trunk and protocol."
    ]


def test_the_same_rows_have_not_changed() -> None:
    (found,) = held(NEWER, NEWER)
    assert {one.verdict for one in found.changes} == {"same runs"}
    assert change_sentences(found) == ["Of 5 methods in both: 5 same runs."]
    assert change_table(found).rows == ()


def test_page_and_markdown_say_the_same_and_in_short() -> None:
    found, since = boards(table(NEWER)), Since("<b>old.parquet", held(NEWER, OLDER))
    said = "Of 4 methods in both: 1 better, 1 worse, 1 more seeds, 1 same runs (Holm over 2 pairs)."
    html, text = page(found, title="Now", since=since), markdown(found, title="Now", since=since)
    for document in (html, text):
        assert [sentence for sentence in ("New: came.", "Gone: went.", said) if sentence not in document] == []
        assert "4 → 1" in document
    assert "&lt;b&gt;old.parquet" in html
    section = text.partition("## What changed since ")[2].partition("\n## ")[0]
    assert [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("|")][2:] == [
        "mended",
        "kept",
        "longer",
        "broken",
    ]
    assert "What changed" not in page(found, title="Now") + markdown(found, title="Now")
