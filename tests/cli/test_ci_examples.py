"""What a user copies into CI is real: the YAML parses, its commands are ours, and the action's command runs."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.command_line import parsed
from support.jobs import matrix_file

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
PAGE = (ROOT / "bench/matrices/README.md").read_text(encoding="utf-8")
GITHUB, GITLAB = (yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))


def test_the_action_gives_its_inputs_to_real_options() -> None:
    *_, last = ACTION["runs"]["steps"]
    given = {"MATRIX": "smoke", "BASELINE": "b.parquet", "GITHUB_STEP_SUMMARY": "s.md", "ARGS": "--strict --device cpu"}
    line = re.sub(r'"?\$(\w+)"?', lambda name: given[name[1]], last["run"])
    found = parsed(shlex.split(line))
    assert (found["matrix"], found["baseline"], found["markdown"]) == ("smoke", Path("b.parquet"), Path("s.md"))
    assert found["strict"] is True
    assert last["env"] == {name: f"${{{{ inputs.{name.lower()} }}}}" for name in ("MATRIX", "BASELINE", "ARGS")}
    assert ACTION["inputs"].keys() == {"matrix", "baseline", "python", "args"}
    assert all(step.get("shell") == "bash" for step in ACTION["runs"]["steps"] if "run" in step)


def test_the_action_installs_what_is_beside_it() -> None:
    _, install, _ = ACTION["runs"]["steps"]
    *_, constraint, project = shlex.split(install["run"].replace("$GITHUB_ACTION_PATH", str(ROOT)))
    assert Path(constraint).is_file()
    assert (Path(project) / "pyproject.toml").is_file()


@pytest.mark.parametrize(("broken", "code"), [(False, 0), (True, 3)])
def test_the_command_of_the_action_runs_and_writes_the_summary(tmp_path: Path, broken: bool, code: int) -> None:
    file, summary = tmp_path / "b.parquet", tmp_path / "summary.md"
    matrix = matrix_file(tmp_path, losses='["triplet"]')
    summary.touch()
    paths = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    inputs = {"MATRIX": str(matrix), "BASELINE": str(file), "GITHUB_STEP_SUMMARY": str(summary)}
    given = {**os.environ, **paths, **inputs, "ARGS": "--set recipe.epochs=3" if broken else "--strict --workers 1"}
    make = ["bench", "check", matrix, "--make-baseline", file, "--seeds", "1"]
    subprocess.run(make, env=given, capture_output=True, check=True)
    done = subprocess.run(["bash", "-e", "-c", ACTION["runs"]["steps"][-1]["run"]], env=given, capture_output=True)
    assert done.returncode == code, done.stderr
    said = "recipe.epochs is 2 there, 3 here" if broken else "Same bits: every embedding"
    assert said in summary.read_text(encoding="utf-8")


def test_the_examples_are_ours() -> None:
    (checkout, use), (job,) = GITHUB, GITLAB.values()
    assert checkout["uses"].startswith("actions/checkout@")
    assert use["with"].keys() <= ACTION["inputs"].keys()
    assert parsed(["bench", "check", "m", "--baseline", "b", *shlex.split(use["with"]["args"])])["strict"] is True
    *_, check = map(shlex.split, job["script"])
    assert parsed(check)["junit"] == Path(job["artifacts"]["reports"]["junit"])


def test_our_own_ci_ends_with_the_check() -> None:
    assert (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()[-1] == "make check"
    made, checked = (
        parsed(re.search(rf"^{target}:.*\n\t\$\(BIN\)/(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split())
        for target in ("baseline", "check")
    )
    assert made["make_baseline"] == checked["baseline"]
    assert made["matrix"] == checked["matrix"] == "smoke"
