import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.jobs import matrix_file, tiny
from typer.testing import CliRunner

import bench
from bench import store
from bench.cli.app import app
from bench.matrix.catalogue import KINDS, entries
from bench.matrix.file import matrices
from bench.matrix.recipe import Recipe
from bench.store.row import Result, Row

BENCH = str(Path(sys.executable).with_name("bench"))


def call(*arguments, **options):
    """In this process: quick, for commands that start no worker."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False, **options)


def command(*arguments, **options):
    """As a user gives it."""
    return subprocess.run([BENCH, *map(str, arguments)], capture_output=True, text=True, **options)


def test_help_names_every_command_and_exit_code():
    text = call("--help").output
    assert all(name in text for name in ("run", "plan", "report", "pack", "list", "130"))


def test_help_waits_for_nothing_heavy():
    code = "import sys; from bench.cli import app; print({'torch', 'pandas', 'faiss', 'pydantic'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "set()"
    )


@pytest.mark.parametrize("kind", list(KINDS))
def test_list_tells_all_there_is(kind):
    found = {part["name"]: part for part in json.loads(call("list", kind, "--json").output)}
    assert found.keys() == entries(kind).keys()
    text = call("list", kind).output
    for name, part in found.items():
        assert name in text
        assert part["label"] in text
        assert all(parameter["name"] in text for parameter in part["parameters"])


def test_list_tells_the_losses_of_another_package_and_their_parts():
    found = {part["name"]: part for part in json.loads(call("list", "losses", "--pml", "--json").output)}
    assert {"pml/TripletMarginLoss", "TripletMarginMiner", "LpDistance", "MeanReducer", "normal_"} <= found.keys()
    assert "pml/VICRegLoss" not in found
    assert found["pml/ProxyNCALoss"]["trains"] == "vectors per class"
    text = call("list", "losses", "--pml").output
    assert all(name in text for name in found)
    assert "\n      distance: distance = LpDistance(power=2)\n" in text
    assert "| `pml/ArcFaceLoss` | Loss of " in call("list", "losses", "--pml", "--markdown").output


def test_another_package_has_losses_only():
    done = command("list", "metrics", "--pml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "bench: --pml belongs to losses: bench list losses --pml\n"


@pytest.mark.parametrize("name", entries("losses"))
def test_list_says_what_a_loss_trains_and_needs(name):
    found = {part["name"]: part for part in json.loads(call("list", "losses", "--json").output)}[name]
    assert found["family"] == entries("losses")[name].module.split(".")[-1]
    assert found["citation"] in found["label"]
    text = call("list", "losses").output.split(f"\n    {found['label']}\n")[1].splitlines()[0]
    assert found["trains"] in text
    assert all(need in text for need in found["needs"])


def test_list_explains_every_field_of_a_recipe():
    found = {field["name"]: field for field in json.loads(call("list", "recipe", "--json").output)}
    assert list(found) == list(Recipe.model_fields)
    assert all(field["label"] for field in found.values())
    assert Recipe.model_validate({name: field["default"] for name, field in found.items()}) == Recipe()
    assert "crop_area = [0.16, 1.0]\n    area of the crop, share\n" in call("list", "recipe").output


def test_list_matrices():
    found = json.loads(call("list", "matrices", "--json").output)
    assert [part["name"] for part in found] == list(matrices())
    assert all(part["label"] for part in found)


def test_from_matrix_to_report(tmp_path):
    """The whole way: plan, run, run again, plan, pack, report from the folder and from the packed file."""
    fused = '[{ name = "concatenate", members = ["triplet", "contrastive"] }]'
    matrix, runs, packed = matrix_file(tmp_path, model_ensembles=fused), tmp_path / "runs", tmp_path / "all.parquet"
    before = json.loads(call("plan", matrix, "--results", runs, "--json").output)
    assert [cell["status"] for cell in before["cells"]] == ["new"] * 3
    assert not runs.exists()
    first = command("run", matrix, "--results", runs)
    assert first.returncode == 0, first.stderr
    assert "[3/3]" in first.stderr
    assert "concatenate[triplet, contrastive]" in first.stdout.replace("\n", " ")
    stamps = {path: path.stat().st_mtime_ns for path in runs.rglob("*.parquet")}
    second = command("run", matrix, "--results", runs)
    assert (second.returncode, second.stdout) == (0, first.stdout)
    assert "3 cells, 3 done before" in second.stderr
    assert stamps == {path: path.stat().st_mtime_ns for path in runs.rglob("*.parquet")}
    after = json.loads(call("plan", matrix, "--results", runs, "--seeds", 2, "--json").output)
    assert [cell["status"] for cell in after["cells"]] == ["done"] * 2 + ["new"] * 2 + ["done", "new"]
    assert after["seconds"] > 0
    assert call("pack", packed, "--results", runs).exit_code == 0
    assert len(bench.load(packed)) == 3
    for source, output in ((runs, tmp_path / "one"), (packed, tmp_path / "two")):
        assert call("report", "--results", source, "--output", output).exit_code == 0
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two")]
    assert files[0] == files[1]
    assert {"README.md", "index.html"} < files[0].keys()


@pytest.mark.usefixtures("no_workers")
def test_ensembles_are_held_against_controls(tmp_path):
    """Two seeds, so that the best member can be chosen; then the controls run, once, and the report shows them."""
    fused = '[{ name = "concatenate", members = ["triplet", "contrastive"] }]'
    matrix, runs = matrix_file(tmp_path, model_ensembles=fused, seeds="2"), tmp_path / "runs"
    assert "the controls of 2 ensembles" in call("plan", matrix, "--results", runs).output
    without = call("run", matrix, "--results", runs, "--set", "controls=false")
    assert (without.exit_code, len(bench.load(runs))) == (0, 6)
    first = call("run", matrix, "--results", runs)
    assert first.exit_code == 0, first.stderr
    assert "6 cells, 6 done before" in first.stderr
    assert "control: " in first.stderr
    assert "6 controls, 0 done before" in first.stderr
    assert "vs best member, same cost" in first.stdout.replace("\n", " ")
    second = call("run", matrix, "--results", runs)
    assert (second.exit_code, second.stdout) == (0, first.stdout)
    assert "6 controls, 6 done before" in second.stderr
    planned = json.loads(call("plan", matrix, "--results", runs, "--json").output)
    assert [cell["status"] for cell in planned["cells"]] == ["done"] * 12
    lines = call("plan", matrix, "--results", runs).stdout.splitlines()[:12]
    assert [line.startswith("done      control: ") for line in lines] == [False] * 6 + [True] * 6
    assert len(set(lines)) == 12
    assert call("report", "--results", runs, "--matrix", matrix, "--output", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "README.md").read_text().count("| control |") == len(
        bench.load(runs).query("kind == 'control'")[["objective", "recipe"]].drop_duplicates()
    )


@pytest.mark.usefixtures("no_workers")
def test_complement_writes_a_page_from_what_is_stored(tmp_path):
    matrix, runs, output = matrix_file(tmp_path), tmp_path / "runs", tmp_path / "out"
    early = call("complement", matrix, "--results", runs, "--output", output)
    assert (early.exit_code, output.exists()) == (2, False)
    assert "run a matrix first" in early.output
    assert call("run", matrix, "--results", runs).exit_code == 0
    found = call("complement", matrix, "--results", runs, "--output", output, "--size", 2)
    assert found.exit_code == 0
    assert "triplet" in found.output
    assert {"complement.md"} < {path.name for path in output.iterdir()}


def test_report_can_be_of_one_matrix(tmp_path):
    runs = tmp_path / "runs"
    for job in (*tiny(), *tiny(losses=["proxy_nca"])):
        store.write(runs, Result(Row.of(job, "done", scores={"recall_at_1": 0.5, "nmi": 0.5})))
    matrix = matrix_file(tmp_path, losses='["triplet"]')
    output = call("report", "--results", runs, "--matrix", matrix, "--output", tmp_path / "out").output
    assert "triplet" in output
    assert "proxy_nca" not in output


def test_a_report_of_a_matrix_calls_things_as_the_matrix_does(tmp_path):
    """Whatever was stored: here another label, and that the job ran as a control."""
    runs = tmp_path / "runs"
    for job in tiny(seeds=2):
        ran = Row.of(job.changed(control=True), "done", scores={"recall_at_1": 0.5, "nmi": 0.5})
        store.write(runs, Result(ran))
    matrix = matrix_file(tmp_path, losses='[{ name = "triplet", label = "ours" }]', seeds="2")
    assert call("report", "--results", runs, "--output", tmp_path / "plain").exit_code == 0
    assert "| triplet | control |" in (tmp_path / "plain" / "README.md").read_text()
    assert call("report", "--results", runs, "--matrix", matrix, "--output", tmp_path / "out").exit_code == 0
    page = (tmp_path / "out" / "README.md").read_text()
    assert "| ours | loss |" in page
    assert "nothing was measured" not in page


@pytest.mark.parametrize("verb", ["run", "plan"])
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"losses": '["tripet"]'}, "there is no loss 'tripet'; did you mean 'triplet'?"),
        ({"losses": '[{ name = "triplet", margn = 1.0 }]'}, "did you mean 'margin'?"),
        ({"losses": '[{ name = "ranked_list", alhpa = 1.0 }]'}, "did you mean 'alpha'?"),
        ({"losses": '[{ name = "triplet", margin = -0.1 }]'}, "margin = -0.1 is not possible; it should be greater"),
        ({"losses": '[{ name = "group", iterations = 0 }]'}, "iterations = 0 is not possible; it should be greater"),
        ({"losses": "[]"}, "losses and ensembles are both empty"),
        ({"losses": "3"}, "losses"),
        ({"datasets": '["omniglot"]'}, "https://github.com/brendenlake/omniglot"),
        ({"datasets": '[{ name = "folder", path = "nowhere" }]'}, "nowhere"),
        ({"backbones": '["resnet"]'}, "there is no backbone 'resnet'"),
        ({"ensembles": '[{ name = "sum", members = [] }]'}, "sum needs members"),
    ],
)
def test_a_wrong_request_is_a_sentence_and_exit_code_2(tmp_path, verb, changes, sentence):
    result = call(verb, matrix_file(tmp_path, **changes), "--results", tmp_path / "runs", "--data", tmp_path)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("no_workers")
def test_settings_that_do_not_go_together_are_refused_before_training(tmp_path):
    losses = (
        '[{ name = "group", anchors = 4 }, { name = "ranked_list", margin = 2.0 }, '
        '{ name = "multimodal", modalities = 40 }]'
    )
    result = call("run", matrix_file(tmp_path, losses=losses), "--results", tmp_path / "runs")
    assert result.exit_code == 2
    assert "set recipe.images_per_class=5 or more, or fewer anchors" in result.stderr
    assert "set margin to 1.2 (alpha) or less" in result.stderr
    assert "cannot cut 16 dimensions into 40 modalities" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list((tmp_path / "runs").glob("*/row.parquet"))


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["run", "dem0"], 2, "did you mean 'demo'?"),
        (["run", "demo", "--device", "gpu"], 2, "choose auto, cpu or cuda"),
        (["run", "demo", "--set", "recipe.epochs"], 2, "KEY=VALUE"),
        (["run", "demo", "--results", "/dev/null/runs"], 2, "name another folder with --results"),
        (["report", "--results", "nowhere"], 2, "run a matrix first"),
        (["pack", "x.parquet", "--results", "nowhere"], 2, "run a matrix first"),
    ],
)
def test_other_wrong_requests(tmp_path, monkeypatch, arguments, code, sentence):
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.exit_code == code
    assert sentence in result.stderr.replace("\n", " ")


def test_a_report_of_nothing_is_exit_code_3(tmp_path):
    result = call("report", "--results", tmp_path)
    assert result.exit_code == 3
    assert "bench run demo" in result.stderr


@pytest.mark.usefixtures("no_workers")
def test_a_matrix_where_nothing_could_be_measured_is_exit_code_3(tmp_path):
    matrix = matrix_file(tmp_path, losses='["triplet"]')
    result = call(
        "run", matrix, "--results", tmp_path / "runs", "--set", "recipe.trunk_rate=1e30", "--set", "recipe.epochs=3"
    )
    assert result.exit_code == 3
    assert "diverged; the loss or the embeddings were not finite" in result.stderr


def test_the_end_of_a_run_names_the_tracebacks_of_failed_cells(tmp_path):
    fused = '[{ name = "pca", members = ["triplet"], dim = 17 }]'
    matrix, runs = matrix_file(tmp_path, losses='["triplet"]', model_ensembles=fused), tmp_path / "runs"
    result = command("run", matrix, "--results", runs)
    assert result.returncode == 1
    (file,) = runs.glob("*/error.txt")
    assert f"failed: {file} says where" in result.stderr
    assert result.stderr.endswith("1 done, 1 failed\n")
    assert "Traceback" not in result.stderr


@pytest.mark.usefixtures("no_workers")
def test_a_row_cut_short_is_named_and_runs_again(tmp_path):
    matrix, runs = matrix_file(tmp_path, losses='["triplet"]'), tmp_path / "runs"
    assert call("run", matrix, "--results", runs).exit_code == 0
    (row,) = runs.glob("*/row.parquet")
    scores = bench.load(runs).loc[0, "recall_at_1"]
    row.write_bytes(row.read_bytes()[:100])
    again = call("run", matrix, "--results", runs)
    assert again.exit_code == 0
    assert f"{row}: is no whole Parquet file; its folder is set aside" in again.stderr
    assert bench.load(runs).loc[0, "recall_at_1"] == scores
