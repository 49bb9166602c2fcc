"""What the READMEs say is so: matrices expand, examples run, links resolve, tables are in step, command lines parse."""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from support.command_line import parsed
from support.jobs import go, matrix_file, tiny

import bench
from bench.cli.app import app
from bench.cli.list import ListKind
from bench.matrix.catalogue import entries
from bench.matrix.expand import expand
from bench.matrix.file import Matrix, matrices
from bench.scoring.conventions.rules import CONVENTIONS

ROOT = Path(__file__).parents[2]
WRITTEN = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "results/README.md",
    "losses/README.md",
    "reports/ensembles.md",
)
FOLDERS = ("datasets", "execute", "job", "matrices", "report", "scoring", "store")
BESIDE = tuple(f"bench/{folder}/README.md" for folder in FOLDERS)
MEASURED = [name for name in ("results/calibration.md",) if (ROOT / name).exists()]
REPORTS = tuple(f"reports/{folder}README.md" for folder in ("", "reference/", "small/", "frozen/", "finetune/"))
PAGES = [*MEASURED, *WRITTEN, *BESIDE, *REPORTS, "reports/complement.md"]


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str = "") -> list[str]:
    """The fenced blocks of a page in one language; "" is for those without."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)
    return [block for written_in, block in found if written_in == language]


def test_a_reader_gets_through_the_readme():
    assert len(text_of("README.md").split()) <= 2000


def test_every_readme_is_looked_at():
    found = {
        str(path.relative_to(ROOT))
        for folder in (".", "losses", "bench", "results", "reports")
        for path in (ROOT / folder).glob("*.md" if folder == "." else "**/*.md")
        if "latest" not in path.parts
    }
    assert found == set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    targets = re.findall(r"(?<!\\)\]\(([^):]+)\)", text_of(page))
    files = [
        ((ROOT / page).parent / target.partition("#")[0] if target[0] != "#" else ROOT / page) for target in targets
    ]
    assert [target for target, file in zip(targets, files, strict=True) if not file.exists()] == []
    marks = [(target, file) for target, file in zip(targets, files, strict=True) if "#" in target]
    assert [target for target, file in marks if target.partition("#")[2] not in anchors(file)] == []


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize(
    ("page", "cells"),
    [
        ("README.md", 2 * (2 * 5 + 3) * 3),
        ("bench/matrices/README.md", 2 * 2 * (2 * 4 + 4 + 4 // 2 + 4) + 2 * 3 * 4),
    ],
)
def test_the_matrix_of_a_page_expands(page, cells):
    """Three floors are added wherever a trunk is pretrained, which is one of two."""
    (text,) = blocks(page, "toml")
    assert len(expand(Matrix.model_validate(tomllib.loads(text)))) == cells


@pytest.mark.usefixtures("one_thread")
def test_the_losses_of_another_package_train_as_the_page_says(tmp_path):
    (text,) = blocks("losses/README.md", "toml")
    jobs = tiny(**tomllib.loads(text), recipe={"epochs": 1})
    assert [go(job, tmp_path).row.status for job in jobs] == ["done"] * 5


@pytest.mark.parametrize(
    ("page", "kinds"),
    [
        ("bench/matrices/README.md", ("ensembles", "model_ensembles", "matrices")),
        ("bench/datasets/README.md", ("datasets",)),
    ],
)
def test_the_tables_name_what_there_is(page, kinds):
    """Not all of it: `bench list` shows that, and the pages say so."""
    known = {name for kind in kinds for name in (matrices() if kind == "matrices" else entries(kind))}
    firsts = [line.split("|")[1] for line in text_of(page).splitlines() if line.startswith("| `")]
    named = [name for first in firsts for name in re.findall(r"`([\w-]+)`", first)]
    assert len(named) > 8
    assert [name for name in named if name not in known] == []
    assert [kind for kind in kinds if f"bench list {kind}" not in text_of(page)] == []


def test_the_readme_names_every_command_and_all_that_can_be_listed():
    told = text_of("README.md")
    assert [name for name in typer.main.get_command(app).commands if f"bench {name}" not in told] == []
    assert [kind for kind in ListKind if f"`{kind}`" not in told and f"`bench list {kind}`" not in told] == []


def test_the_excerpt_of_the_leaderboard_is_from_the_committed_report():
    place, excerpt = re.search(
        r"<!-- excerpt of (.*?) -->\n(.*?)<!-- end -->", text_of("README.md"), re.DOTALL
    ).groups()
    page, _, board = place.partition(": ")
    section = text_of(page).partition(f"\n## {board}\n")[2].partition("\n## ")[0]
    head, _, *rows = [cells(line) for line in excerpt.splitlines()]
    lines = [cells(line) for line in section.splitlines() if line.startswith("|")]
    full = max((line for line in lines if line[0] == "Objective"), key=len)  # above it are only the leaders and floors
    kept = [[line[full.index(name)] for name in head] for line in lines if len(line) == len(full)]
    assert len(rows) >= 3
    assert [row for row in rows if row not in kept] == []


def test_what_the_readme_says_of_that_board_is_from_the_report_too():
    text, report = text_of("README.md"), text_of("reports/reference/README.md")
    section = report.partition("\n## glyphs(classes=150), conv4-48\n")[2].partition("\n## ")[0]
    (count,) = re.findall(r"(\d+) methods of this board", text)
    assert f"**{count} methods lead and cannot be told apart" in section
    (gain,) = re.findall(r"by (\d+\.\d ± \d+\.\d) points", text)
    (reduced,) = re.findall(r"\| concatenate \| smooth proxy\\_nca \| 4× \| 4× \| [^|]+ \| ([^|]+) \|", section)
    assert reduced == f"**+{gain}**"


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_script_of_the_readme_gives_the_rows_of_the_command_bit_for_bit(tmp_path):
    """Two seeds, so that controls are chosen; the script has no guard around its main part."""
    (script,) = [block for block in blocks("README.md", "python") if "bench.run(" in block]
    fused = '[{ name = "concatenate", members = ["triplet", "contrastive"] }]'
    matrix_file(tmp_path, model_ensembles=fused, seeds="2").rename(tmp_path / "matrix.toml")
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    run = {"cwd": tmp_path, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "script.py"], **run)
    assert done.returncode == 0, done.stderr
    assert "triplet" in done.stdout
    assert done.stdout.count(" done ") == 12
    command = [Path(sys.executable).with_name("bench"), "run", "matrix.toml", "--results", "again"]
    assert subprocess.run(command, **run).returncode == 0
    ours, theirs = (tmp_path / folder for folder in ("results/runs", "again"))
    assert without_times(ours).equals(without_times(theirs))
    keys = bench.load(ours)["key"]
    for name in ("embeddings.npy", "training.npy", "queries.parquet"):
        assert all((ours / key / name).read_bytes() == (theirs / key / name).read_bytes() for key in keys)


def without_times(folder):
    frame = bench.load(folder).set_index("key").sort_index()
    vary = [name for name in frame if name.startswith(("seconds", "images_per_second", "started", "peak_memory"))]
    return frame.drop(columns=vary)


def test_the_loss_of_the_readme_is_sound_and_trains(tmp_path):
    (example,) = [block for block in blocks("README.md", "python") if "sigmoid_pairs" in block]
    (tmp_path / "my_losses.py").write_text(example, encoding="utf-8")
    matrix_file(tmp_path, losses='["triplet", "sigmoid_pairs"]').rename(tmp_path / "matrix.toml")
    command, run = Path(sys.executable).with_name("bench"), {"cwd": tmp_path, "capture_output": True, "text": True}
    done = subprocess.run([command, "run", "matrix.toml", "--plugin", "my_losses.py"], **run)
    assert done.returncode == 0, done.stderr
    assert "sigmoid_pairs" in done.stdout
    done = subprocess.run([command, "test-plugin", "my_losses.py"], **run)
    assert done.returncode == 0, done.stdout


def test_the_example_of_evaluate_runs():
    (script,) = [block for block in blocks("README.md", "python") if "bench.evaluate(" in block]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "recall_at_10" in done.stdout


def test_the_example_of_conventions_that_differ_is_real(tmp_path):
    (console,), (why,) = blocks("bench/scoring/README.md", "console"), blocks("bench/scoring/README.md")
    commands = [shlex.split(line[2:]) for line in console.splitlines() if line.startswith("$ ")]
    folder = Path(sys.executable).parent
    outputs = [
        subprocess.run([folder / name, *rest], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        for name, *rest in commands
    ]
    printed = [_squeezed(line) for line in outputs[-1].splitlines()]
    shown = [line for line in (console + why).splitlines() if line and not line.startswith("$ ")]
    assert [line for line in shown if _squeezed(line) not in printed] == []


def _squeezed(line):
    """Columns are as wide as the longest name of a metric."""
    return re.sub(r"([ -])\1+", r"\1", line)


def test_every_convention_is_in_the_table():
    told = text_of("bench/scoring/README.md")
    assert [name for name in CONVENTIONS if name != "lossbench" and f"`{name}`" not in told] == []


def command_lines(page: str) -> Iterator[str]:
    """The commands of a page: lines of its fenced blocks, and what stands between backquotes in its text."""
    text = text_of(page)
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield from (line.removeprefix("$ ") for line in block.splitlines())
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


COMMANDS = sorted({line for page in (*WRITTEN, *BESIDE) for line in command_lines(page) if line.startswith("bench ")})


@pytest.mark.parametrize("line", COMMANDS)
def test_command_lines_parse(line):
    """Every option is known and every value of its type; a name alone, as in running text, may leave arguments out."""
    parsed(shlex.split(line, comments=True))


@pytest.mark.parametrize("line", ["bench run demo --seds 3", "bench rnu demo", "bench data verify --nope"])
def test_a_wrong_command_line_does_not_parse(line):
    with pytest.raises(Exception, match=r"(?i)no such (option|command)|no command"):
        parsed(shlex.split(line))


@pytest.mark.parametrize("page", [*WRITTEN, *BESIDE])
def test_make_targets_exist(page):
    targets = {line.split()[1] for line in command_lines(page) if line.startswith("make ")}
    assert targets <= set(re.findall(r"^([\w-]+):", text_of("Makefile"), re.MULTILINE))


@pytest.mark.parametrize("page", [*WRITTEN, *BESIDE])
def test_files_that_are_named_exist(page):
    """Paths of the source, such as `losses/module.py`, between backquotes."""
    named = re.findall(r"`((?:bench|losses|tests)/[\w/.-]*)`", text_of(page))
    assert [name for name in named if not (ROOT / name).exists()] == []
