"""`bench report`, `complement` and `pack` with files as people have them: one sentence and the right exit code."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result as Done
from support.jobs import matrix_file, tiny
from support.stored import finished
from typer.testing import CliRunner

import bench
from bench import store
from bench.cli.app import app
from bench.matrix.expand import expand
from bench.matrix.file import load
from bench.store.row import failure

NOTHING = "bench: nothing was measured: no job has finished"


def called(*arguments: object) -> Done:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def wrong(*arguments: object) -> str:
    """The one sentence of a request that is refused."""
    done = called(*arguments)
    (sentence,) = done.stderr.splitlines()
    assert (done.exit_code, sentence[:7]) == (2, "bench: "), sentence
    return sentence


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for job in tiny(seeds=2):
        store.write(tmp_path / "runs", finished(job))
    return tmp_path / "runs"


@pytest.fixture
def packed(results: Path) -> Path:
    store.pack(results, results.parent / "packed.parquet")
    return results.parent / "packed.parquet"


def foreign(packed: Path) -> dict[str, Path]:
    """Files that are no results, by what they are."""
    whole = pq.read_table(packed)
    places = {
        name: packed.with_name(f"{name}.parquet") for name in ("empty", "text", "other", "lacks", "types", "half")
    }
    places["empty"].touch()
    places["text"].write_text("key,status\na,done\n")
    pd.DataFrame({"key": ["a"], "status": ["done"], "score": [1.0]}).to_parquet(places["other"])
    pq.write_table(whole.drop_columns("status"), places["lacks"])
    seeds = pa.array(["zero"] * len(whole))
    pq.write_table(whole.set_column(whole.column_names.index("seed"), "seed", seeds), places["types"])
    content = packed.read_bytes()
    places["half"].write_bytes(content[: len(content) // 2])
    places["names"] = packed.with_name("names.parquet")
    places["names"].write_bytes(content.replace(b"peak_memory", b"\xdeeak_memory"))
    places["page"] = packed.with_name("page.parquet")
    places["page"].write_bytes(content[:4] + b"?" * 2000 + content[2004:])
    places["log"] = packed.with_name("log.parquet")
    texts = pa.array(["epoch 1"] * len(whole))
    pq.write_table(whole.set_column(whole.column_names.index("history"), "history", texts), places["log"])
    return places


SENTENCES = {
    "empty": "is no Parquet file; name a folder of results",
    "text": "is no Parquet file; name a folder of results",
    "other": "has no column 'dataset'; name a folder of results",
    "lacks": "has no column 'status'; name a folder of results",
    "types": "has texts in its column 'seed', not whole numbers; name a folder",
    "half": "is damaged; pack the results again",
    "names": "is damaged; pack the results again",
    "page": "is damaged; pack the results again",
    "log": "column 'history' is not one of `bench pack`",
}


@pytest.mark.parametrize("kind", SENTENCES)
def test_a_file_that_is_no_result_is_a_sentence(packed: Path, kind: str) -> None:
    file, output = foreign(packed)[kind], packed.parent / "page"
    matrix, again = matrix_file(packed.parent), packed.parent / "again.parquet"
    assert SENTENCES[kind] in wrong("report", "--results", file, "--output", output)
    if kind != "log":
        assert SENTENCES[kind] in wrong("complement", matrix, "--results", file, "--output", output)
    said = wrong("pack", again, "--results", file)
    assert SENTENCES[kind] in said or "packed already" in said
    assert not again.exists()


def test_a_packed_file_is_not_packed_again_and_holds_no_embeddings(packed: Path) -> None:
    before = packed.read_bytes()
    assert "packed already; name a folder of results" in wrong("pack", packed, "--results", packed)
    matrix = matrix_file(packed.parent)
    assert "holds no embeddings; name a folder of results" in wrong("complement", matrix, "--results", packed)
    assert packed.read_bytes() == before


def test_a_device_is_no_folder_of_results(tmp_path: Path) -> None:
    for arguments in (["report"], ["pack", tmp_path / "packed.parquet"]):
        assert "cannot be opened (Not a directory)" in wrong(*arguments, "--results", "/dev/null")


@pytest.mark.parametrize("content", ["photo", "table", "row", "folder", "below a file", "link"])
def test_pack_overwrites_only_what_it_made(results: Path, content: str) -> None:
    file = results.parent / "mine.parquet"
    if content == "photo":
        file.write_bytes(b"\xff\xd8 a photo")
    elif content == "table":
        pd.DataFrame({"a": [1]}).to_parquet(file)
    elif content == "row":
        file = next(results.glob("*/row.parquet"))
    elif content == "folder":
        file.mkdir()
    elif content == "link":
        file.symlink_to(results.parent / "nowhere")
    else:
        file.write_text("a file")
        file /= "packed.parquet"
    before = sorted(str(path) for path in results.parent.rglob("*"))
    held = {path: path.read_bytes() for path in results.parent.rglob("*") if path.is_file()}
    assert "name a" in wrong("pack", file, "--results", results)
    assert sorted(str(path) for path in results.parent.rglob("*")) == before
    assert all(path.read_bytes() == content for path, content in held.items())


def test_pack_replaces_what_it_made_and_an_empty_file(results: Path, packed: Path) -> None:
    (results.parent / "new.parquet").touch()
    for file in (packed, results.parent / "new.parquet"):
        assert called("pack", file, "--results", results).exit_code == 0
        assert len(bench.load(file)) == 2
    assert not list(results.parent.glob(".*"))


def test_pack_leaves_out_single_queries_where_it_is_asked_to(results: Path, packed: Path) -> None:
    small = results.parent / "small.parquet"
    assert called("pack", small, "--results", results, "--no-queries").exit_code == 0
    pd.testing.assert_frame_equal(bench.load(small), bench.load(packed))
    kept, left = set(pq.read_schema(packed).names), set(pq.read_schema(small).names)
    assert left < kept
    assert all(name.startswith("query_") for name in kept - left)


def test_pack_names_the_rows_that_it_leaves_out(results: Path) -> None:
    first, second = sorted(results.glob("*/row.parquet"))
    first.write_bytes(b"half")
    file = results.parent / "packed.parquet"
    done = called("pack", file, "--results", results)
    assert (done.exit_code, f"{first}: is no whole Parquet file" in done.stderr) == (0, True)
    assert "UserWarning" not in done.stderr
    assert f"{file}: 1 rows" in done.stderr
    kept = file.read_bytes()
    second.write_bytes(b"half")
    done = called("pack", file, "--results", results)
    assert done.exit_code == 3
    assert done.stderr.count("sets it aside and runs the job again; it is left out") == 2
    assert "has no results to pack" in done.stderr
    assert file.read_bytes() == kept


def test_a_log_that_cannot_be_read_is_a_sentence_without_its_line_of_code(results: Path) -> None:
    next(results.glob("*/history.parquet")).write_bytes(b"half")
    done = called("report", "--results", results, "--output", results.parent / "page")
    assert done.exit_code == 0
    assert "history.parquet: is no whole Parquet file; it is left out" in done.stderr
    assert "UserWarning" not in done.stderr


@pytest.mark.parametrize("status", ["failed", "skipped", "diverged"])
def test_a_report_without_a_measurement_is_written_and_exit_code_3(tmp_path: Path, status: str) -> None:
    for job in tiny(seeds=2):
        store.write(tmp_path / "runs", failure(job, status, "it does not fit"))
    done = called("report", "--results", tmp_path / "runs", "--output", tmp_path / "page")
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (3, NOTHING)
    assert "it does not fit" in (tmp_path / "page" / "README.md").read_text()


def test_a_report_of_a_matrix_without_rows_says_so(results: Path, tmp_path: Path) -> None:
    matrix = matrix_file(tmp_path, losses='["contrastive"]')
    done = called("report", "--results", results, "--matrix", matrix, "--output", tmp_path / "page")
    assert done.exit_code == 3
    assert done.stderr.strip() == (
        f"bench: {results} has results, but none of the matrix {matrix}; run it first: bench run {matrix}"
    )
    (tmp_path / "nothing").mkdir()
    for arguments in (["report"], ["report", "--matrix", matrix], ["pack", tmp_path / "x.parquet"]):
        done = called(*arguments, "--results", tmp_path / "nothing")
        assert (done.exit_code, "has no results to" in done.stderr) == (3, True)
    assert not (tmp_path / "page").exists()


def test_a_report_of_two_matrices_says_of_each_board_how_its_settings_were_found(tmp_path: Path) -> None:
    letters = '[{{ name = "glyphs", classes = {}, images_per_class = 8 }}]'
    matrices = []
    for classes, name in ((12, "plain"), (13, "searched"), (14, "third")):
        (tmp_path / name).mkdir()
        matrices.append(matrix_file(tmp_path / name, datasets=letters.format(classes), seeds="2"))
    with matrices[1].open("a") as file:
        file.write('[searched]\ntrials = 7\nseed = 1000\nmetric = "map_at_r"\nvalidation = { share = 0.2 }\n')
    for job in (job for file in matrices for job in expand(load(file))):
        store.write(tmp_path / "runs", finished(job))
    asked = [word for file in matrices[:2] for word in ("--matrix", file)]
    done = called("report", "--results", tmp_path / "runs", *asked, "--output", tmp_path / "page")
    assert done.exit_code == 0, done.stderr
    text = (tmp_path / "page" / "README.md").read_text()
    plain, searched = sorted(text.index(f"## glyphs(classes={classes}") for classes in (12, 13))
    note = text.index("called tuned had 7 trials")
    assert plain < searched < note
    assert text.count("called tuned") == 1
    assert "classes=14" not in text


def test_a_report_into_a_file_is_a_sentence(results: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for output in (tmp_path / "file", tmp_path / "file" / "page", "/proc/page"):
        assert "name another folder with --output" in wrong("report", "--results", results, "--output", output)
    assert "cannot be written" in wrong("pack", "/proc/packed.parquet", "--results", results)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("option", ["size=16k", "ro"])
def test_a_full_or_read_only_disk_is_a_sentence(results: Path, tmp_path: Path, option: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", option, "tmpfs", disk]).returncode:
        pytest.skip("a small disk needs the right to mount one")
    try:
        said = wrong("pack", disk / "packed.parquet", "--results", results)
        assert ("the disk is full" if option != "ro" else "Read-only file system") in said
        assert "name another folder with --output" in wrong("report", "--results", results, "--output", disk / "page")
        assert list(disk.glob("*.parquet")) == list(disk.glob(".*")) == []
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("file", ["embeddings.npy", "queries.parquet"])
@pytest.mark.parametrize("content", [b"", b"half", "flat", "short"])
def test_complement_names_what_it_cannot_read(tmp_path: Path, file: str, content: bytes | str) -> None:
    matrix, results = matrix_file(tmp_path), tmp_path / "runs"
    for job in expand(load(str(matrix))):
        whole = finished(job)
        queries = whole.queries._replace(first_hit=np.ones(32, np.int32))
        store.write(results, whole._replace(embeddings=np.eye(32, dtype=np.float32), queries=queries))
    (spoiled, _) = sorted(results.glob(f"*/{file}"))
    assert called("complement", matrix, "--results", results, "--output", tmp_path / "page").exit_code == 0
    shutil.rmtree(tmp_path / "page")
    if isinstance(content, bytes):
        spoiled.write_bytes(content)
    elif file == "embeddings.npy":
        np.save(spoiled, np.ones(32) if content == "flat" else np.ones((3, 2)))
    else:
        column = "hit" if content == "flat" else "first_hit"
        pq.write_table(pa.table({column: [1, 0, 3]}), spoiled)
    done = called("complement", matrix, "--results", results, "--output", tmp_path / "page")
    assert (done.exit_code, spoiled.parent.name in done.stderr) == (2, True)
    assert all(line.startswith("bench: ") for line in done.stderr.splitlines())
    assert not (tmp_path / "page").exists()


def test_only_some_datasets_are_reported(tmp_path: Path) -> None:
    small = Path(__file__).parents[2] / "results" / "small.parquet"
    output = tmp_path / "report"
    assert called("report", "--results", small, "--output", output, "--only", "glyphs").exit_code == 0
    text = (output / "README.md").read_text(encoding="utf-8")
    assert "glyphs(classes=150)" in text
    assert "cars196_half" not in text
    whole = "cars196_half (not Cars196)"
    assert called("export", "csv", "--results", small, "--only", whole).stdout.count(whole) >= 11
    assert "did you mean 'glyphs(classes=150)'" in wrong("report", "--results", small, "--only", "glyphs(classes=15)")


def test_the_page_is_shown_where_that_is_asked_for(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("typer.launch", shown.append)
    called("report", "--results", results, "--output", tmp_path / "report")
    assert shown == []
    called("report", "--results", results, "--output", tmp_path / "report", "--open")
    assert shown == [str(tmp_path / "report" / "index.html")]


def test_a_report_says_what_changed_since_older_results(results: Path, packed: Path, tmp_path: Path) -> None:
    for job in tiny(losses=["contrastive"], seeds=2):
        store.write(results, finished(job))
    output = tmp_path / "report"
    assert called("report", "--results", results, "--compare", packed, "--output", output).exit_code == 0
    for name in ("README.md", "index.html"):
        assert "New: contrastive." in (output / name).read_text(encoding="utf-8")
    assert "name older results with --compare" in wrong("report", "--results", packed, "--compare", packed)
    assert "is no Parquet file" in wrong("report", "--results", packed, "--compare", foreign(packed)["text"])
