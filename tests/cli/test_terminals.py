"""Where output goes: terminals and files that have fewer letters, and readers that have seen enough."""

import re
import subprocess
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import psutil
import pytest
from rich.console import Console
from support.jobs import matrix_file, tiny
from support.stored import finished
from support.terminal import BENCH, HIDE, Terminal, surroundings

from bench import store
from bench.cli.step_bar import bar
from bench.datasets.acquire.steps import PICTURES

LABELLED = '[{ name = "triplet", label = "三元组" }]'


def bench(*arguments: object, encoding: str = "utf-8", shell: str = "") -> subprocess.CompletedProcess[bytes]:
    command = [*BENCH, *map(str, arguments)]
    shelled = ["bash", "-c", f'set -o pipefail; "$@" {shell}', "bash", *command] if shell else command
    return subprocess.run(shelled, env=surroundings(PYTHONIOENCODING=encoding), capture_output=True)


@pytest.mark.parametrize(
    ("command", "encoding"), [("plan", "ascii"), ("report", "ascii"), ("report", "cp1252"), ("evaluate", "cp1252")]
)
def test_letters_that_a_terminal_lacks_are_escaped(tmp_path: Path, command: str, encoding: str) -> None:
    """Those that it has stay; a sign that is lost would make a loss a gain."""
    runs, matrix = tmp_path / "runs", matrix_file(tmp_path, losses=LABELLED)
    for job in tiny(losses=[{"name": "triplet", "label": "三元组"}], seeds=2):
        store.write(runs, finished(job))
    np.savez(tmp_path / "x.npz", embeddings=np.eye(4), labels=[0, 0, 1, 1])
    rest = {
        "plan": [matrix, "--results", tmp_path / "other"],
        "report": ["--results", runs, "--output", tmp_path / "page"],
        "evaluate": [tmp_path / "x.npz", "--convention", "all"],
    }
    done = bench(command, *rest[command], encoding=encoding)
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    kept = "三元组".encode() if encoding == "ascii" else b"nothing"  # click takes that for a mistake, and writes UTF-8
    assert command == "evaluate" or rb"\u4e09\u5143\u7ec4" in done.stdout or kept in done.stdout
    if command == "report":
        assert "三元组" in (tmp_path / "page" / "README.md").read_text(encoding="utf-8")


def test_signs_that_a_terminal_lacks_are_spelt(tmp_path: Path) -> None:
    """Its interval is still one, and the page keeps its own signs."""
    for job in tiny(seeds=2):
        store.write(tmp_path / "runs", finished(job, recall_at_1=0.5 + job.seed / 100))
    words = ["report", "--results", tmp_path / "runs", "--output", tmp_path / "page"]
    has, lacks = (bench(*words, encoding=encoding) for encoding in ("latin-1", "ascii"))
    assert (has.returncode, lacks.returncode) == (0, 0)
    assert b"50.5 \xb1" in has.stdout
    assert b"50.5 +-" in lacks.stdout
    assert b"\\" not in has.stdout + lacks.stdout
    assert "50.5 ±" in (tmp_path / "page" / "README.md").read_text(encoding="utf-8")


SMALL = Path(__file__).parents[2] / "results" / "small.parquet"


def intervals(shown: str, drawn: str) -> list[tuple[list[int], list[float]]]:
    """Of every line: at which letters its interval begins, has its mean and ends; and where it should."""
    axis = re.search(r"Recall@1  (\d+\.\d) +(\d+\.\d)  Seeds", shown)
    assert axis
    low, high = map(float, axis.groups())
    found = []
    for line in re.finditer(rf"(\d+\.\d) \S+ (\d+\.\d)  ( *)({drawn})", shown):
        mean, width, first = float(line[1]), float(line[2]), len(line[3])
        middle = max(map(line[4].find, "●o"))
        ends = [15 * (end - low) / (high - low) for end in (mean - width, mean, mean + width)]
        found.append(([first, first + middle, first + len(line[4]) - 1], ends))
    return found


def test_a_leaderboard_fits_eighty_columns_and_draws_its_intervals(tmp_path: Path) -> None:
    """In a terminal, and in a pipe, of which nothing says how wide it is, without the letters for lines."""
    words = ["report", "--results", SMALL, "--only", "grocery_store", "--output", tmp_path / "page"]
    with Terminal(*words, columns=80) as terminal:
        assert terminal.end() == 0
    shown = re.sub(r"\x1b\[[0-9;]*m", "", terminal.shown).replace("\r", "").partition("wrote ")[0]
    piped = bench(*words, encoding="ascii", shell="| cat").stdout.decode("ascii")
    for text, drawn in ((shown, "├─*●─*┤"), (piped, r"\|-*o-*\|")):
        assert max(map(len, text.splitlines())) <= 80
        found = intervals(text, drawn)
        assert len(found) == 8
        for places, ends in found:
            assert places == pytest.approx(ends, abs=0.7)


def test_a_reader_that_has_seen_enough_gets_no_traceback() -> None:
    done = bench("list", "losses", "--json", shell="| true")
    assert (done.stderr, done.stdout, done.returncode) == (b"", b"", 141)


def test_a_run_whose_reader_has_gone_ends_with_its_workers(tmp_path: Path) -> None:
    losses = '["triplet", { name = "contrastive", recipe = { epochs = 10000000 } }]'
    done = bench(
        "run", matrix_file(tmp_path, losses=losses), "--results", tmp_path, "--workers", 1, shell="2>&1 | head -1"
    )
    assert done.stdout == b"2 cells, 0 done before\n"
    assert (done.returncode, done.stderr) == (141, b"")
    named = str(tmp_path)
    assert [one.pid for one in psutil.process_iter(["cmdline"]) if named in (one.info["cmdline"] or ())] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("much", ["datasets", "losses"])
def test_a_full_disk_is_one_sentence(much: str) -> None:
    """Both where the output is written in the end, and where it is more than is kept for that."""
    done = bench("list", much, shell="> /dev/full")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert done.stderr.startswith(b"bench: the ")


def test_a_dumb_terminal_gets_plain_lines(tmp_path: Path) -> None:
    few = [f"--set={name}=2" for name in ("classes", "images_per_class", "test_classes", "test_images_per_class")]
    with Terminal("data", "prepare", "glyphs", *few, TERM="dumb", BENCH_CACHE=str(tmp_path)) as terminal:
        assert terminal.end() == 0
    assert "\x1b" not in terminal.shown
    out = StringIO()
    with bar(Console(file=out, force_terminal=True, _environ={"TERM": "dumb"}), "step", PICTURES, seconds=0) as update:
        update(3, 4)
    assert out.getvalue() == "step: 3 of 4 pictures\n"


def test_no_colour_where_none_is_wanted(tmp_path: Path) -> None:
    for job in tiny():
        store.write(tmp_path / "runs", finished(job))
    words = ["report", "--results", tmp_path / "runs", "--output", tmp_path / "page"]
    shown = []
    for env in ({}, {"NO_COLOR": "1"}):
        with Terminal(*words, **env) as terminal:
            assert terminal.end() == 0
        shown.append(terminal.shown)
    assert "\x1b[" in shown[0]
    assert not [code for code in range(30, 50) if f"\x1b[{code}m" in shown[1] or f";{code}m" in shown[1]]
    assert HIDE not in shown[0]


EVIL = "evil\x1b[2J\x07\x00\x9b\n\ufffe<script>"


def test_control_characters_of_stored_labels_are_shown_as_escapes(tmp_path: Path) -> None:
    """Rows from whoever wrote them: the terminal is not moved, the SVG is XML, HTML and Markdown show letters."""
    runs, page = tmp_path / "runs", tmp_path / "page"
    for job in tiny(seeds=2, losses=["triplet", "contrastive"]):
        result = finished(job, recall_at_1=0.5 + job.seed / 100)
        evil = {"objective": EVIL + job.objective.label, "dataset": EVIL, "members": (EVIL,), "reason": EVIL}
        store.write(runs, result._replace(row=result.row.model_copy(update=evil)))
    done = bench("report", "--results", runs, "--output", page)
    assert done.returncode == 0, done.stderr.decode()
    files = [file.read_text(encoding="utf-8") for file in page.iterdir()]
    assert len(files) >= 3
    for text in (done.stdout.decode(), done.stderr.decode(), *files):
        assert not [sign for sign in "\x1b\x07\x00\x9b\ufffe" if sign in text]
    for file in page.glob("*.svg"):
        ElementTree.parse(file)
    assert r"evil\x1b[2J\x07\x00\x9b\n\ufffe" in done.stdout.decode().replace("\n", "")
    assert "<script>triplet" not in (page / "index.html").read_text(encoding="utf-8")


def test_control_characters_of_a_matrix_are_escapes_too(tmp_path: Path) -> None:
    label = r"\u001b[2Jmine"  # as TOML writes them
    matrix = matrix_file(tmp_path, losses=f'[{{ name = "triplet", label = "{label}" }}]')
    done = bench("plan", matrix, "--results", tmp_path / "runs")
    assert done.returncode == 0
    assert b"\x1b" not in done.stdout
    assert rb"\x1b[2Jmine" in done.stdout
    plain, labelled = tiny(losses=["triplet"]), tiny(losses=[{"name": "triplet", "label": "\x1bmine"}])
    assert [job.key for job in plain] == [job.key for job in labelled]
