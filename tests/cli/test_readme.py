import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bench.cli.listing import markdown
from bench.matrix.catalogue import entries
from bench.matrix.expand import expand
from bench.matrix.file import Matrix
from bench.scoring.conventions.rules import CONVENTIONS

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "results/README.md", "reports/README.md", "reports/small/README.md"]


def test_the_matrix_of_the_readme_expands():
    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(expand(Matrix.model_validate(tomllib.loads(text)))) == 2 * 2 * 5 * 3


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    targets = re.findall(r"(?<!\\)\]\(([^)#:]+)\)", (ROOT / page).read_text(encoding="utf-8"))
    missing = [target for target in targets if not (ROOT / page).parent.joinpath(target).exists()]
    assert missing == []


def test_the_catalogue_of_losses_is_in_step():
    """Put the output of `bench list losses --markdown` between the two marks."""
    (table,) = re.findall(r"<!-- losses -->\n(.*)\n<!-- end -->", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert table.strip() == markdown(entries("losses").values())


@pytest.mark.parametrize("file", ["reference", "small"])
def test_every_column_is_explained(file):
    """Of the committed results, by results/README.md."""
    import bench

    text = (ROOT / "results/README.md").read_text(encoding="utf-8")
    columns = bench.load(ROOT / f"results/{file}.parquet").columns
    metric = re.compile(rf"^({'|'.join(entries('metrics'))})(_sd|_best)?(_[0-9]+)?$")
    general = {name: re.sub("_[0-9]+$", "_K", metric.sub(r"METRIC\2\3", name)) for name in columns}
    assert [name for name, shown in general.items() if f"`{shown}`" not in text and f"`{name}`" not in text] == []


def test_the_example_of_conventions_that_differ_is_real(tmp_path):
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Why two tables disagree")[2]
    console, why = re.findall(r"```(?:console)?\n(.*?)```", section, re.DOTALL)[:2]
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
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Why two tables disagree")[2]
    assert [name for name in CONVENTIONS if name != "lossbench" and f"`{name}`" not in section] == []
