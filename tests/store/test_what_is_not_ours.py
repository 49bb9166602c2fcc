"""A folder of results may hold other things, which stay as they are: byte for byte, names included."""

import os
import resource
import shutil
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.jobs import matrix_file, tiny
from support.stored import finished
from typer.testing import CliRunner

import bench
from bench import store
from bench.cli.app import app
from bench.matrix.expand import expand
from bench.matrix.file import load
from bench.store.checked_files import SEEN
from bench.store.job_folders import DRAFT, FILES, KEY, StoreError
from bench.store.row import failure
from bench.store.row_journal import NOTED

(JOB,) = tiny()
LONG_AGO = 1_000_000_000
NOBODY = 65534


def snapshot(folder: Path) -> dict[str, bytes | str | None]:
    """Every path below but what spares reading: the bytes of a file, the target of a link, None for a folder."""
    found: dict[str, bytes | str | None] = {}
    for path in (path for path in folder.rglob("*") if path.name not in (NOTED, SEEN)):
        content = None if path.is_dir() else path.read_bytes() if path.is_file() else "special"
        found[str(path.relative_to(folder))] = os.readlink(path) if path.is_symlink() else content
    return found


def fill(folder: Path) -> None:
    """What people keep beside results, and what only looks like ours."""
    copy, near = f"{JOB.key}-copy", "glyphs-a-b-s0-xyz"
    for name in ("photos", "thesis", ".draft-x", "empty", ".git", f"{DRAFT}mine", copy, near):
        (folder / name).mkdir()
        if name != "empty":
            (folder / name / "notes.txt").write_text(name)
    (folder / f"{JOB.key}-copy" / "row.parquet").write_bytes(b"half")
    (folder / "photos" / "row.parquet").write_bytes(b"")
    (folder / "row.parquet").write_bytes(b"not a row")
    (folder / f"{DRAFT}file").write_text("a file")
    (folder / "Übung ß.txt").write_text("a file")
    (folder / "dangling").symlink_to(folder / "nowhere")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / f"{DRAFT}link").symlink_to(folder / "photos")
    os.mkfifo(folder / "pipe")
    home = folder / JOB.key.replace("-s0-", "-s7-")  # a key's form, and nothing of ours inside
    home.mkdir()
    (home / "diary.txt").write_text("mine")
    other = folder / JOB.key.replace("-s0-", "-s8-")  # a key's form, and a Parquet of something else
    other.mkdir()
    pq.write_table(pa.table({"a": [1, 2]}), other / "row.parquet")
    (folder / JOB.key.replace("-s0-", "-s9-")).write_text("a file with a key's form")
    (folder / JOB.key.replace("-s0-", "-s6-")).symlink_to(folder / "nowhere")
    for path in folder.iterdir():
        if not path.is_symlink():
            os.utime(path, (LONG_AGO, LONG_AGO))


def test_a_key_has_the_form_that_marks_a_folder_as_ours():
    packed = (Path(bench.__file__).parents[1] / "results").glob("*.parquet")
    keys = {job.key for job in tiny(seeds=3)} | {key for file in packed for key in bench.load(file)["key"]}
    assert [key for key in keys if not KEY.fullmatch(key)] == []
    assert len(keys) > 3


def test_a_job_leaves_no_file_that_is_not_known(tmp_path):
    store.write(tmp_path, finished(JOB)._replace(traceback="Traceback"))
    assert {path.name for path in (tmp_path / JOB.key).iterdir()} == FILES


def test_bench_run_leaves_everything_else_as_it_was(tmp_path, monkeypatch):
    matrix = matrix_file(tmp_path)
    fill(tmp_path)
    for job in expand(load(str(matrix))):
        store.write(tmp_path / "runs", finished(job))
    shutil.copytree(tmp_path / "runs", tmp_path / "old")
    for folder in (tmp_path / "runs").iterdir():
        folder.rename(tmp_path / folder.name)
    next((tmp_path / "old").glob("[!.]*")).joinpath("row.parquet").write_bytes(b"")
    before = snapshot(tmp_path)
    monkeypatch.chdir(tmp_path)
    for arguments in (["run", str(matrix), "--results", "."], ["report", "--results", ".", "--output", "page"]):
        done = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert (done.exit_code, done.stderr.count("set aside")) == (0, 0), done.stderr
    assert len(bench.load(".")) == 2
    shutil.rmtree("page")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "absent", "footer"])
def test_only_a_damaged_row_of_ours_is_set_aside(tmp_path, damage):
    fill(tmp_path)
    before = snapshot(tmp_path)
    store.write(tmp_path, finished(JOB))
    row = tmp_path / JOB.key / "row.parquet"
    whole = row.read_bytes()
    contents = {"cut": whole[:99], "empty": b"", "text": b"a,b\n1,2\n", "footer": whole[:-40] + b"?" * 32 + whole[-8:]}
    row.unlink() if damage == "absent" else row.write_bytes(contents[damage])
    (sentence,) = store.set_aside(tmp_path).sentences
    assert JOB.key in sentence
    assert (tmp_path / f".broken-{JOB.key}-0").is_dir()
    shutil.rmtree(tmp_path / f".broken-{JOB.key}-0")
    assert snapshot(tmp_path) == before


def test_drafts_of_ours_are_removed_after_a_day_and_no_others(tmp_path):
    for name, age, content in [
        ("old", LONG_AGO, "row.parquet"),
        ("older", LONG_AGO, ""),
        ("new", None, "row.parquet"),
        ("notes", LONG_AGO, "notes.txt"),
        ("folder", LONG_AGO, "error.txt/"),
    ]:
        draft = tmp_path / f"{DRAFT}{name}"
        draft.mkdir()
        if content:
            (draft / content).mkdir() if content.endswith("/") else (draft / content).write_text("x")
        if age:
            os.utime(draft, (age, age))
    store.prepare(tmp_path)
    assert sorted(path.name.removeprefix(DRAFT) for path in tmp_path.iterdir()) == ["folder", "new", "notes"]


@pytest.mark.parametrize("content", ["notes", "a Parquet of something else"])
def test_a_result_never_replaces_what_is_not_ours(tmp_path, content):
    home = tmp_path / JOB.key
    home.mkdir()
    if content == "notes":
        (home / "notes.txt").write_text("mine")
    else:
        pq.write_table(pa.table({"a": [1, 2]}), home / "row.parquet")
    before = snapshot(tmp_path)
    with pytest.raises(StoreError, match="holds something else than results; move it"):
        store.write(tmp_path, finished(JOB))
    assert snapshot(tmp_path) == before


def test_notes_in_the_folder_of_a_failed_job_are_kept(tmp_path):
    store.write(tmp_path, failure(JOB, "failed", "out of memory"))
    (tmp_path / JOB.key / "why.txt").write_text("mine")
    store.write(tmp_path, finished(JOB))
    assert store.statuses(bench.load(tmp_path)) == {JOB.key: "done"}
    assert [path.read_text() for path in tmp_path.rglob("why.txt")] == ["mine"]


def test_a_linked_folder_of_a_failed_job_keeps_its_target(tmp_path):
    store.write(tmp_path / "disk", failure(JOB, "failed", "out of memory"))
    before = snapshot(tmp_path / "disk")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / JOB.key).symlink_to(tmp_path / "disk" / JOB.key)
    store.write(tmp_path / "runs", finished(JOB))
    assert store.statuses(bench.load(tmp_path / "runs")) == {JOB.key: "done"}
    assert snapshot(tmp_path / "disk") == before


def test_a_row_whose_content_was_not_fetched_is_no_damage(tmp_path):
    store.write(tmp_path, finished(JOB))
    row = tmp_path / JOB.key / "row.parquet"
    row.unlink()
    row.symlink_to(tmp_path / "annex" / "row.parquet")
    before = snapshot(tmp_path)
    for read in (store.set_aside, bench.load):
        with pytest.raises(StoreError, match="a link to a file that is not there"):
            read(tmp_path)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_a_row_that_is_no_ordinary_file_is_no_damage(tmp_path, kind):
    store.write(tmp_path, finished(JOB))
    row = tmp_path / JOB.key / "row.parquet"
    row.unlink()
    row.mkdir() if kind == "folder" else os.mkfifo(row)
    before = snapshot(tmp_path)
    for read in (store.set_aside, bench.load):
        with pytest.raises(StoreError, match=r"cannot be opened \(it is no ordinary file\)"):
            read(tmp_path)
    assert snapshot(tmp_path) == before


def told(action: Callable[[], object]) -> str:
    """What `action` ends with, in a process of its own, whose rights and limits it may lower."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, of which the child uses none
        child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            text = f"no error: {action()}"
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as opened:
        return opened.read()


READERS = {
    "set_aside": store.set_aside,
    "load": bench.load,
    "pack": lambda results: store.pack(results, results.parent / "packed.parquet"),
    "write": lambda results: store.write(results, finished(JOB)),
}
readers = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


@pytest.fixture
def open_to_all():
    """A folder that every user may enter and write."""
    if os.geteuid():
        pytest.skip("another user's rights need root")
    folder = Path("/tmp") / f"lossbench-test-{os.getpid()}-{time.monotonic_ns()}"
    folder.mkdir()
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@readers
@pytest.mark.parametrize("closed", ["row.parquet", ".", ".."])
def test_another_users_rows_are_left_alone(open_to_all, read, closed):
    results = open_to_all / "runs"
    for job in tiny(seeds=4):
        store.write(results, finished(job))
    results.chmod(0o777)
    (results / JOB.key / closed).chmod(0)
    before = snapshot(results)

    def as_another_user() -> object:
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
        return read(results)

    said = told(as_another_user)
    assert said.startswith("StoreError: ")
    assert "Permission denied" in said
    assert "\n" not in said
    assert snapshot(results) == before


@readers
def test_too_few_file_descriptors_change_nothing(tmp_path, read):
    results = tmp_path / "runs"
    for job in tiny(seeds=4):
        store.write(results, finished(job))
    before = snapshot(results)

    def with_few_descriptors() -> object:
        count = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        while True:
            try:
                os.open("/dev/null", os.O_RDONLY)
            except OSError:
                return read(results)

    said = told(with_few_descriptors)
    assert said.startswith("StoreError: ")
    assert "too many files are open" in said
    after = snapshot(results)
    assert {name: after[name] for name in after if not name.startswith(DRAFT)} == before


def test_another_users_draft_stops_no_run(open_to_all):
    draft = open_to_all / f"{DRAFT}other"
    draft.mkdir(0o700)
    os.utime(draft, (LONG_AGO, LONG_AGO))

    def as_another_user() -> object:
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
        return store.prepare(open_to_all)

    assert told(as_another_user) == "no error: None"
    assert draft.is_dir()
