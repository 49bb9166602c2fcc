"""What is left out of the data is said wherever its scores are asked for."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.jobs import matrix_file, tiny
from typer.testing import CliRunner, Result

import bench
from bench import store
from bench.cli.app import app
from bench.store.row import failure

BROKEN = "1 that are missing or cannot be read: train/b/0.png"
SMALL = "1 with too few pictures: d"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)


@pytest.fixture
def matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of photos: one cannot be read, a class has a single one, and a text file lies beside them."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    draws = np.random.default_rng(0)
    for folder, count in {"train/a": 4, "train/b": 4, "train/c": 4, "train/d": 1, "test/e": 3, "test/f": 3}.items():
        (tmp_path / "photos" / folder).mkdir(parents=True)
        for index in range(count):
            pixels = draws.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / folder / f"{index}.png")
    (tmp_path / "photos" / "train" / "b" / "0.png").write_bytes(b"")
    (tmp_path / "photos" / "train" / "notes.txt").write_text("mine")
    dataset = f'[{{ name = "folder", path = "{tmp_path / "photos"}", size = 16, label = "photos" }}]'
    return matrix_file(tmp_path, datasets=dataset, losses='["triplet"]')


SETTINGS = ("--set", "recipe.epochs=0", "--set", "recipe.classes_per_batch=3", "--set", "recipe.images_per_class=2")


@pytest.mark.usefixtures("no_workers")
def test_what_is_left_out_is_said_by_plan_run_row_and_report(tmp_path: Path, matrix: Path) -> None:
    runs = tmp_path / "runs"
    asked = (matrix, "--results", runs, *SETTINGS, "--skip-broken")
    planned = call("plan", *asked)
    assert f"photos: pictures left out: {BROKEN}" in planned.stdout
    assert f"photos: classes left out: {SMALL}" in planned.stdout
    assert "photos: files left out: 1 that are not pictures" in planned.stdout
    remarks = json.loads(call("plan", *asked, "--json").stdout)["remarks"]
    assert f"pictures left out: {BROKEN}" in remarks["photos"]
    ran = call("run", *asked)
    assert ran.exit_code == 0, ran.stderr
    start, said, _ = ran.stderr.partition(f"bench: photos: pictures left out: {BROKEN}")
    assert said
    assert "done" not in start
    (stored,) = bench.load(runs)["left_out"]
    assert all(part in stored for part in (BROKEN, SMALL, "notes.txt"))
    call("report", "--results", runs, "--output", tmp_path / "out")
    for name in ("README.md", "index.html"):
        assert "Left out of the data: " in (tmp_path / "out" / name).read_text()
        assert "train/b/0.png" in (tmp_path / "out" / name).read_text()


@pytest.mark.usefixtures("no_workers")
def test_where_nothing_is_left_out_nothing_is_said(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    ran = call("run", matrix_file(tmp_path, losses='["triplet"]'), "--results", runs, "--set", "recipe.epochs=0")
    assert ran.exit_code == 0, ran.stderr
    assert "left out" not in ran.stderr
    assert bench.load(runs)["left_out"].isna().all()


def test_a_plan_names_what_a_failed_cell_left(tmp_path: Path) -> None:
    runs, matrix = tmp_path / "runs", matrix_file(tmp_path, losses='["triplet"]', seeds="2")
    failed, lost = tiny(seeds=2)
    store.write(runs, failure(failed, "failed", "ValueError: no")._replace(traceback="Traceback"))
    store.write(runs, failure(lost, "failed", "its worker process was killed"))
    lines = call("plan", matrix, "--results", runs).stdout.splitlines()
    assert lines[0].endswith(f"triplet seed 0: {runs / failed.key / 'error.txt'} says where it failed")
    assert lines[1].endswith("triplet seed 1")
