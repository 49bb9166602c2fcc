"""The committed report is what the committed rows say, and so is every number of the text beside it."""

import re
from functools import cache
from pathlib import Path

import pytest

import bench
from bench.analysis.boards import Board, boards
from bench.analysis.facts import facts
from bench.matrix.expand import expand
from bench.matrix.file import load
from bench.matrix.job import Job
from bench.report.markdown import markdown
from bench.report.tables import Table, ladder, scoreboard

ROOT = Path(__file__).parents[2]
TEXT = ROOT / "reports" / "ensembles.md"
STUDIES = ("reference", "finetune", "frozen")
NUMBER = re.compile(r"[+−]?\d+\.\d ± \d+\.\d")


@cache
def stored(name: str) -> list[Board]:
    """The boards of a committed file; of settings that were searched, with the matrices that say so."""
    jobs: list[Job] = []
    notes: dict[tuple[str, str], tuple[str, ...]] = {}
    for file in sorted((ROOT / "results" / "tuned").glob(f"{name}-*.toml")):
        matrix = load(file)
        jobs += expand(matrix)
        notes[jobs[-1].dataset.label, jobs[-1].backbone.label] = (matrix.searched.sentence,)
    return boards(bench.load(ROOT / "results" / f"{name}.parquet"), jobs, notes)


def cells(table: Table) -> set[str]:
    return {cell.text for row in table.rows for cell in row}


@pytest.mark.parametrize(
    ("file", "folder"), [("reference", "."), ("small", "small"), ("frozen", "frozen"), ("finetune", "finetune")]
)
def test_the_committed_report_is_what_the_rows_say(file: str, folder: str) -> None:
    report = (ROOT / "reports" / folder / "README.md").read_text(encoding="utf-8")
    rows = bench.load(ROOT / "results" / f"{file}.parquet")
    title = report.partition("\n")[0].removeprefix("# ")
    written = markdown(stored(file), title=title, facts=facts(rows))
    assert re.sub(r"\n\n!\[.*\n\n\*.*\*", "", report) == written


def test_raw_pixels_stand_beside_what_was_learned_on_real_photos() -> None:
    for board in boards(bench.load(ROOT / "results" / "small.parquet")):
        assert {"floor", "loss", "ensemble", "model_ensemble"} == {line.kind for line in board.lines}
        assert all(line.done == 3 for line in board.lines)
        assert {line.objective for line in board.lines if line.kind == "floor"} == {"raw pixels", "raw pixels, centred"}


@pytest.mark.parametrize("paragraph", TEXT.read_text(encoding="utf-8").split("\n\n"))
def test_every_number_with_an_interval_is_in_a_table(paragraph: str) -> None:
    known = set().union(
        *(cells(ladder(board)) | cells(scoreboard(board)) for name in STUDIES for board in stored(name))
    )
    stated = NUMBER.findall(paragraph.replace("\n", " "))
    assert [number for number in stated if number not in known] == []


def test_the_text_states_numbers() -> None:
    assert len(NUMBER.findall(TEXT.read_text(encoding="utf-8"))) >= 10
