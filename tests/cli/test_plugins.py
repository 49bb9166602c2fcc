"""Plugins on the command line: named there, listed, planned, tested, and told in sentences where they are wrong."""

import numpy as np
import pytest
from support.jobs import matrix_file
from support.plugins import ALL_KINDS, LOSS, plugin_file
from typer.testing import CliRunner

from bench.cli.app import app
from bench.matrix.plugins import use


@pytest.fixture(autouse=True)
def _none_afterwards():
    yield
    use([])


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_a_plan_knows_the_parts_of_the_plugins_that_are_named(tmp_path):
    matrix, results = matrix_file(tmp_path, losses='["sigmoid_pairs", "mine"]'), ("--results", tmp_path / "runs")
    one, two = plugin_file(tmp_path), plugin_file(tmp_path, "def mine(shape):\n    raise SystemExit\n", "two.py")
    found = call("plan", matrix, *results, "--plugin", one, "--plugin", two)
    assert found.exit_code == 0
    assert "new: 2" in found.stdout.replace("2 new; to run: 2", "new: 2")
    assert found.stderr == ""
    found = call("plan", matrix, *results, "--plugin", one)
    assert found.exit_code == 2
    assert found.stderr.startswith("bench: losses.1: there is no loss 'mine'")


def test_a_plan_tells_of_a_plugin_that_is_not_used(tmp_path):
    found = call("plan", matrix_file(tmp_path), "--results", tmp_path / "runs", "--plugin", plugin_file(tmp_path))
    assert found.exit_code == 0
    assert found.stderr.endswith("my_losses.py: the matrix uses nothing of this plugin; name its functions there\n")


@pytest.mark.parametrize(
    "command", ["run", "plan", "search", "check", "complement", "report", "list", "evaluate", "compare"]
)
def test_every_command_refuses_a_plugin_that_is_none(command, tmp_path):
    plugin = plugin_file(tmp_path, "def broken(shape:\n")
    matrix = matrix_file(tmp_path)
    more = {
        "check": [matrix, "--baseline", tmp_path / "no.parquet"],
        "report": [],
        "list": ["losses"],
        "compare": ["a", "b"],
    }
    found = call(command, *more.get(command, [matrix]), "--plugin", plugin)
    assert found.exit_code == 2
    assert found.stderr == f"bench: {plugin}: line 1 is not Python ('(' was never closed): mend it\n"


def test_lists_show_what_plugins_add(tmp_path):
    plugin = plugin_file(tmp_path, ALL_KINDS)
    assert "sigmoid_pairs\n    Sigmoid of pairs (after Zhai et al., ICCV 2023).\n" in (
        call("list", "losses", "--plugin", plugin).stdout
    )
    assert "purity\n    Purity (mine).\n" in call("list", "metrics", "--plugin", plugin).stdout
    assert "purity" not in call("list", "metrics").stdout


def test_embeddings_of_a_file_are_scored_by_its_metrics_too(tmp_path):
    np.save(tmp_path / "points.npy", np.array([[0.0], [0.1], [5.0], [5.1]]))
    np.save(tmp_path / "labels.npy", np.array([0, 0, 1, 1]))
    files = (tmp_path / "points.npy", tmp_path / "labels.npy", "--k", "1,2")
    told = call("evaluate", *files, "--plugin", plugin_file(tmp_path, ALL_KINDS)).stdout
    values = {line.rsplit(maxsplit=1)[0].strip(): line.split()[-1] for line in told.splitlines() if line.split()}
    expected = {"Half recall": "50.00", "Half recall@2": "50.00", "Purity": "100.00"}
    assert {name: values[name] for name in expected} == expected


def test_the_checks_end_with_the_exit_code_that_they_deserve(tmp_path):
    found = call("test-plugin", plugin_file(tmp_path))
    assert found.exit_code == 0
    lines = found.stdout.splitlines()
    assert lines[0] == "sigmoid_pairs (losses)"
    assert len(lines) > 12
    assert all(line.startswith("  ok    ") for line in lines[1:])
    found = call("test-plugin", plugin_file(tmp_path, LOSS.replace(".to(embeddings)", ".double()")))
    assert found.exit_code == 1
    assert "  WRONG float32 stays float32, and autocast does no harm: float32 embeddings give torch.float64" in (
        found.stdout
    )
    found = call("test-plugin", plugin_file(tmp_path, LOSS.replace(": float", "")))
    assert found.exit_code == 1
    assert "sigmoid_pairs: say what 'scale' may be, as in scale: float = 1.0" in found.stdout
    found = call("test-plugin", plugin_file(tmp_path, "x = 1"))
    assert (found.exit_code, found.stdout) == (2, "")
    found = call("test-plugin", tmp_path / "nothing.py")
    assert found.stderr == f"bench: {tmp_path / 'nothing.py'}: there is no such file; name a Python file\n"
