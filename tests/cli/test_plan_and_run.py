"""What `bench plan` foretells, `bench run` does."""

from pathlib import Path

import pytest
from click.testing import Result
from support.jobs import matrix_file
from support.sample_photos import classes
from support.stored import finished
from typer.testing import CliRunner

import bench
from bench import store
from bench.cli.app import app
from bench.matrix.expand import expand
from bench.matrix.file import load


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    """Of photos without texts."""
    classes(tmp_path / "photos", "abcdefgh")
    return matrix_file(
        tmp_path,
        datasets=f'[{{ name = "folder", path = "{tmp_path / "photos"}", size = 16, label = "photos" }}]',
        losses='["triplet", "adaptive_additive"]',
        ensembles='[{ name = "sum", members = ["triplet", { name = "sum", members = ["adaptive_additive"] }] }]',
        model_ensembles='[{ name = "concatenate", members = ["triplet", "adaptive_additive"] }]',
        controls="false",
    )


SMALL = ["--set", "recipe.classes_per_batch=2", "--set", "recipe.images_per_class=2", "--set", "recipe.epochs=0"]


@pytest.mark.usefixtures("no_workers")
def test_what_a_plan_calls_unsuited_is_skipped(tmp_path: Path, matrix: Path) -> None:
    asked = [matrix, "--results", tmp_path / "runs", *SMALL]
    lines = call("plan", *asked).stdout.splitlines()
    foretold = {line.split(" seed ")[0].split("conv4(width=8) ")[1] for line in lines if "will be skipped, for" in line}
    assert sum("for adaptive_additive needs a text for each class, and photos has none" in line for line in lines) == 3
    assert call("run", *asked).exit_code == 0
    rows = bench.load(tmp_path / "runs")
    assert set(rows["objective"][rows["status"] == "skipped"]) == foretold
    assert sorted(rows["status"]) == ["done", "skipped", "skipped", "skipped"]
    again = call("plan", *asked).stdout.splitlines()
    assert sum(line.startswith("skipped") and "needs a text for each class" in line for line in again) == 3


def test_the_leaderboard_of_very_many_cells_is_not_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for job in expand(load(str(matrix_file(tmp_path)))):
        store.write(tmp_path / "runs", finished(job))
    asked = ["run", tmp_path / "tiny.toml", "--results", tmp_path / "runs"]
    assert "Recall@1" in call(*asked).stdout
    monkeypatch.setattr("bench.cli.run.LONG", 1)
    ended = call(*asked)
    assert (ended.exit_code, ended.stdout) == (0, "")
    assert f"the leaderboard of 2 cells is long: bench report --results {tmp_path / 'runs'}\n2 done\n" in ended.stderr


def test_a_plan_of_many_cells_counts_them_and_lists_them_when_asked(tmp_path: Path, matrix: Path) -> None:
    asked = [matrix, "--results", tmp_path / "runs", "--seeds", "30", *SMALL]
    store.write(tmp_path / "runs", finished(expand(load(str(matrix), SMALL[1::2]))[0]))
    counted = call("plan", *asked).stdout.splitlines()
    assert counted[0] == "photos conv4(width=8): 1 done, 119 new"
    assert any(line.startswith("90 cells: will be skipped, for ") and "needs a text" in line for line in counted)
    assert len(counted) < 12
    assert "--cells" in "\n".join(counted)
    listed = call("plan", *asked, "--cells").stdout.splitlines()
    assert sum(line.startswith(("new ", "done ")) for line in listed) == 120
    assert listed[-3:] == counted[-3:]
    small = [matrix, "--results", tmp_path / "runs", *SMALL]
    assert call("plan", *small).stdout == call("plan", *small, "--cells").stdout
    assert "photos conv4(width=8): 1 done, 3 new" in call("plan", *small, "--no-cells").stdout
