"""The committed reports are what the committed rows say."""

import re

import pytest
from support.ensemble_tables import ROOT, stored

import bench
from bench.analysis.boards import boards
from bench.analysis.provenance_facts import facts
from bench.report.markdown import markdown


@pytest.mark.parametrize(
    ("file", "folder"), [("reference", "reference"), ("small", "small"), ("frozen", "frozen"), ("finetune", "finetune")]
)
def test_the_committed_report_is_what_the_rows_say(file: str, folder: str) -> None:
    report = (ROOT / "reports" / folder / "README.md").read_text(encoding="utf-8")
    rows = bench.load(ROOT / "results" / f"{file}.parquet")
    title = report.partition("\n")[0].removeprefix("# ")
    written = markdown(stored(file), title=title, facts=facts(rows))
    without = re.sub(r"\n\n!\[.*\n\n\*.*\*", "", report)
    assert re.sub(r"\n\n<details>\n<summary>.*</summary>\n\n</details>", "", without) == written  # folds of pictures


def test_raw_pixels_stand_beside_what_was_learned_on_real_photos() -> None:
    for board in boards(bench.load(ROOT / "results" / "small.parquet")):
        assert {"floor", "loss", "ensemble", "model_ensemble"} == {line.kind for line in board.lines}
        assert all(line.done == 3 for line in board.lines)
        assert {line.objective for line in board.lines if line.kind == "floor"} == {"raw pixels", "raw pixels, centred"}
