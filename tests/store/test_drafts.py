"""What killed commands leave behind goes a day later; what only looks like it stays."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.jobs import tiny
from support.stored import finished

from bench import store
from bench.store.job_folders import DRAFT

LONG_AGO = 1_000_000_000

KILLED = """
import os, signal, sys
from pathlib import Path
import pyarrow.parquet as pq
from bench import store
whole = pq.write_table
def half(table, file, **options):
    whole(table, file, **options)
    os.kill(os.getpid(), signal.SIGKILL)
pq.write_table = half
store.pack(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for job in tiny():
        store.write(tmp_path / "runs", finished(job))
    return tmp_path / "runs"


def drafts(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*"))


def test_the_file_of_a_killed_pack_goes_a_day_later(tmp_path: Path, results: Path) -> None:
    file = tmp_path / "packed.parquet"
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", KILLED, results, file], env={**os.environ, **path})
    assert done.returncode == -signal.SIGKILL
    (draft,) = drafts(tmp_path)
    store.pack(results, file)
    assert drafts(tmp_path) == [draft]
    os.utime(draft, (time.time() - 2 * 86400,) * 2)
    store.pack(results, file)
    assert drafts(tmp_path) == []


@pytest.mark.parametrize(("name", "content"), [
    (f"{DRAFT}0123abcd", "notes of mine"),
    (f"{DRAFT}0123ABCD", ""),
    (f"{DRAFT}0123abcd.txt", ""),
    (f"{DRAFT}notes", "PAR1"),
    (".draft-k3x9ab_z", "PAR1"),
    (".draft-k3x9ab_z/row.parquet", "PAR1"),
    (f"{DRAFT}0123abcd/row.parquet", "PAR1"),
])  # fmt: skip
def test_what_only_looks_like_a_draft_stays(tmp_path: Path, results: Path, name: str, content: str) -> None:
    """Neither by `pack`, which looks for files where it writes, nor by `run`, if the folder could be another's."""
    for folder in (tmp_path, results):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
        for path in (folder / name, folder / name.split("/")[0]):
            os.utime(path, (LONG_AGO, LONG_AGO))
    store.pack(results, tmp_path / "packed.parquet")
    assert (tmp_path / name).read_text() == content
    store.prepare(results)
    assert (results / name).exists() != (name.startswith(DRAFT) and name.endswith("/row.parquet"))


def test_a_link_named_as_a_draft_keeps_its_target(tmp_path: Path, results: Path) -> None:
    (tmp_path / "target").write_text("PAR1")
    link = tmp_path / f"{DRAFT}0123abcd"
    link.symlink_to("target")
    os.utime(link, (LONG_AGO, LONG_AGO), follow_symlinks=False)
    store.pack(results, tmp_path / "packed.parquet")
    assert link.is_symlink()
    assert (tmp_path / "target").read_text() == "PAR1"


def test_a_draft_that_another_machine_has_left_goes_a_day_later(results: Path) -> None:
    draft = results / f"{DRAFT}0123abcd.5.7-89ab"
    draft.write_bytes(b"half of it")
    store.prepare(results)
    assert draft.exists()
    os.utime(draft, (LONG_AGO, LONG_AGO))
    store.prepare(results)
    assert not draft.exists()
