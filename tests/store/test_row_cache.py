import json
import os
import shutil
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.sample_rows import job

import bench
from bench import store
from bench.store import row_cache
from bench.store.job_folders import DRAFT
from bench.store.row import Result, Row, failure
from bench.store.row_cache import KEPT, MANY, SETTLED
from bench.store.row_journal import NOTED, forget_noted, noted

OPENED: list[str] = []


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and str(arguments[0]).endswith("row.parquet"):
        OPENED.append(str(arguments[0]))


@pytest.fixture(scope="module")
def settled(tmp_path_factory) -> Path:
    """Rows of two sorts, more than are parsed each time, old enough for their files to be told from later ones."""
    folder = tmp_path_factory.mktemp("settled")
    for number in range(MANY + 10):
        one = job(f"loss_{number}", 0)
        scores = {"recall_at_1": number / 1000} | ({"recall_at_16": 1.0} if number == 7 else {})
        done = Result(Row.of(one, "done", scores=scores))
        store.write(folder, failure(one, "failed", f"number {number}") if number % 5 == 4 else done)
    time.sleep(SETTLED + 0.1)
    return folder


@pytest.fixture
def kept(settled) -> Path:
    bench.load(settled)
    assert (settled / KEPT).exists()
    return settled


def afresh(folder: Path) -> pd.DataFrame:
    """What the rows' own files say."""
    for name in (KEPT, NOTED):
        (folder / name).unlink(missing_ok=True)
    return bench.load(folder)


def folder_of(results: Path, number: int) -> Path:
    (found,) = (folder for folder in results.iterdir() if f"-loss_{number}-" in folder.name)
    return found


@pytest.fixture(scope="module", autouse=True)
def _opened():
    sys.addaudithook(_note)


def test_every_row_is_opened_once_however_often_they_are_read(settled):
    (settled / NOTED).unlink()
    OPENED.clear()
    first, again = bench.load(settled), bench.load(settled)
    assert store.set_aside(settled).sentences == ()
    assert Counter(OPENED) == {str(folder / "row.parquet"): 1 for folder in settled.iterdir() if folder.is_dir()}
    pd.testing.assert_frame_equal(first, again)
    assert list(first["key"]) == sorted(first["key"])


@pytest.fixture
def written(tmp_path, monkeypatch) -> Path:
    """Rows that nobody has read; they count as settled."""
    monkeypatch.setattr(row_cache, "SETTLED", -60.0)
    for number in range(3):
        scores = {"recall_at_1": number / 10, "map_at_r": None} | ({"recall_at_16": 1.0} if number else {})
        store.write(tmp_path, Result(Row.of(job(f"loss_{number}", 0), "done", scores=scores, epoch=(3,), seconds=0.1)))
    store.write(tmp_path, failure(job("loss_3", 0), "failed", "a reason\nof two lines"))
    return tmp_path


def test_rows_that_were_just_stored_are_not_opened(written):
    OPENED.clear()
    found = bench.load(written)
    assert OPENED == []
    pd.testing.assert_frame_equal(found, afresh(written))
    assert len(OPENED) == 4


def test_a_stored_row_that_has_changed_since_is_opened(written):
    store.write(written, Result(Row.of(job("loss_3", 0), "done", scores={"recall_at_1": 0.3})))
    shutil.rmtree(folder_of(written, 1))
    file = folder_of(written, 0) / "row.parquet"
    pq.write_table(pq.read_table(file, partitioning=None).append_column("more", pa.array([1.0])), file)
    OPENED.clear()
    found = bench.load(written)
    assert [str(file)] == OPENED
    assert found["more"].notna().sum() == 1
    pd.testing.assert_frame_equal(found, afresh(written), check_like=True)


@pytest.mark.parametrize("what", ["link", "pipe", "folder"])
def test_something_else_in_the_place_of_noted_rows_is_left_as_it_is(tmp_path, what):
    place, mine = tmp_path / "runs" / NOTED, tmp_path / "mine"
    place.parent.mkdir()
    mine.write_text("mine")
    {"link": lambda: place.symlink_to(mine), "pipe": lambda: os.mkfifo(place), "folder": place.mkdir}[what]()
    store.write(place.parent, Result(Row.of(job("one", 0), "done", scores={"recall_at_1": 0.5})))
    assert list(bench.load(place.parent)["recall_at_1"]) == [0.5]
    assert mine.read_text() == "mine"


def test_enough_stored_rows_are_kept_for_later_and_no_line_is_left(written, monkeypatch):
    monkeypatch.setattr(row_cache, "MANY", 4)
    found = bench.load(written)
    assert (written / KEPT).exists()
    assert not (written / NOTED).exists()
    OPENED.clear()
    pd.testing.assert_frame_equal(found, bench.load(written))
    assert OPENED == []


def test_lines_of_rows_that_are_not_kept_yet_stay(written):
    """As of those that were stored a moment ago."""
    first_one, *others = noted(written)
    with (written / NOTED).open("ab") as file:
        file.write(line([1, 2]))
    forget_noted(written, {first_one})
    assert list(noted(written)) == others
    OPENED.clear()
    bench.load(written)
    assert len(OPENED) == 1
    assert [path.name for path in written.iterdir() if path.name.startswith(DRAFT)] == []


def line(value: object) -> bytes:
    text = json.dumps(value).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def first(content: bytes) -> tuple[str, dict[str, object]]:
    return json.loads(content.split(b"\n")[1].partition(b" ")[2])


NOT_NOTED: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "cut": lambda content: content[: len(content) // 2],
    "flipped": lambda content: content.replace(b"0.1", b"0.2"),
    "spliced": lambda content: content[: len(content) // 3] + content,
    "no letters": lambda content: content + bytes(range(256)),
    "a list": lambda content: content + line([1, 2]),
    "a text": lambda content: content + line("x"),
    "nested": lambda content: content + b"%08x " % zlib.crc32(b"[" * 10**5) + b"[" * 10**5,
    "a mark": lambda content: content + line(["x", {"kept: file": "y"}]),
    "two lines": lambda content: content + line(["x", {"two\nlines": 1.0}]),
    "another type": lambda content: content + line(["x", {**first(content)[1], "seed": "one"}]),
    "a wrong score": lambda content: content + line([first(content)[0], first(content)[1] | {"recall_at_1": 7.0}]),
    "no columns": lambda content: content + line(["x", {}]),
}


@pytest.mark.parametrize("damage", NOT_NOTED)
def test_lines_that_no_job_wrote_change_nothing(written, damage):
    file = written / NOTED
    file.write_bytes(NOT_NOTED[damage](file.read_bytes()))
    pd.testing.assert_frame_equal(bench.load(written), afresh(written))


def test_what_has_changed_since_is_read_anew(kept):
    one = job("another", 0)
    store.write(kept, Result(Row.of(one, "done", scores={"recall_at_1": 0.25})))
    shutil.rmtree(folder_of(kept, 7))
    changed = folder_of(kept, 11) / "row.parquet"
    table = pq.read_table(changed)
    changed.unlink()
    pq.write_table(table.set_column(table.column_names.index("recall_at_1"), "recall_at_1", pa.array([0.75])), changed)
    found = bench.load(kept).set_index("objective")
    assert found.loc["another", "recall_at_1"] == 0.25
    assert found.loc["loss_11", "recall_at_1"] == 0.75
    assert "loss_7" not in found.index
    assert "recall_at_16" not in found
    pd.testing.assert_frame_equal(bench.load(kept), afresh(kept), check_like=True)


def test_a_row_that_is_damaged_later_is_set_aside(kept):
    folder = folder_of(kept, 3)
    (folder / "row.parquet").unlink()
    (folder / "row.parquet").write_bytes(b"PAR1 and no more")
    (sentence,) = store.set_aside(kept).sentences
    assert folder.name in sentence
    assert folder.name not in set(bench.load(kept)["key"])


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "foreign", "folder"])
def test_kept_rows_that_cannot_be_used_are_as_none(kept, damage):
    file = kept / KEPT
    content = file.read_bytes()
    file.unlink()
    match damage:
        case "empty":
            file.touch()
        case "cut":
            file.write_bytes(content[: len(content) // 2])
        case "flipped":
            middle = len(content) // 4
            file.write_bytes(content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :])
        case "foreign":
            pq.write_table(pa.table({"kept: file": ["x"]}), file)
        case "folder":
            file.mkdir()
    found = bench.load(kept)
    if file.is_dir():
        file.rmdir()
    pd.testing.assert_frame_equal(found, afresh(kept))


def test_kept_rows_that_are_wrong_are_read_from_their_files(kept):
    table = pq.ParquetFile(kept / KEPT).read()
    wrong = pa.array([7.0] * len(table))
    forged = table.set_column(table.column_names.index("recall_at_1"), "recall_at_1", wrong)
    pq.write_table(forged, kept / KEPT, write_page_checksum=True)
    pd.testing.assert_frame_equal(bench.load(kept), afresh(kept))


def test_a_wrong_row_is_never_kept(kept):
    folder = folder_of(kept, 20)
    table = pq.read_table(folder / "row.parquet", partitioning=None)
    wrong = table.set_column(table.column_names.index("recall_at_1"), "recall_at_1", pa.array([7.0]))
    pq.write_table(wrong, folder / "row.parquet")
    time.sleep(SETTLED + 0.1)
    (kept / KEPT).unlink()
    with pytest.warns(UserWarning, match=r"has 7\.0 for 'recall_at_1'"):
        found = bench.load(kept)
    assert list(found["key"]) == pq.ParquetFile(kept / KEPT).read()["key"].to_pylist()
    assert folder.name not in set(found["key"])
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["kept: file", "two\nlines"])
def test_a_row_with_a_column_that_kept_rows_cannot_hold_is_left_out(tmp_path, name):
    one = job("one", 0)
    store.write(tmp_path, Result(Row.of(one, "done", scores={"recall_at_1": 0.5})))
    file = tmp_path / one.key / "row.parquet"
    pq.write_table(pq.read_table(file, partitioning=None).append_column(name, pa.array(["x"])), file)
    with pytest.warns(UserWarning, match="which no job writes"):
        assert bench.load(tmp_path).empty
