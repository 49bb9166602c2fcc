import subprocess
import sys
from pathlib import Path

import pytest
from support.jobs import matrix_file

from bench import store
from bench.matrix.file import load

BENCH = str(Path(sys.executable).with_name("bench"))


def bench(folder, *words):
    return subprocess.run([BENCH, *map(str, words)], capture_output=True, text=True, cwd=folder)


def test_what_is_found_is_written_and_run_and_reported(tmp_path):
    matrix_file(tmp_path, losses='["proxy_anchor", { name = "triplet", label = "raw", recipe = { epochs = 0 } }]')
    words = ("search", "tiny.toml", "--trials", 2, "--workers", 1, "--write", "found.toml")
    told = bench(tmp_path, *words)
    assert told.returncode == 0, told.stderr
    assert "proxy_anchor" in told.stdout
    assert "nothing to search" in told.stdout
    assert "[2/2]" in told.stderr
    assert load(tmp_path / "found.toml").searched.command == "bench search tiny.toml --trials 2"
    again = bench(tmp_path, *words)
    assert again.returncode == 2
    assert again.stderr == (
        "bench: found.toml: is there already; add --force to replace it, or name another file with --write\n"
    )
    text = (tmp_path / "found.toml").read_text()
    forced = bench(tmp_path, *words, "--force")
    assert forced.returncode == 0
    assert "2 cells, 2 done before" in forced.stderr
    assert (tmp_path / "found.toml").read_text() == text
    assert bench(tmp_path, "run", "found.toml", "--workers", 1).returncode == 0
    report = bench(tmp_path, "report", "--matrix", "found.toml", "--output", "out")
    note = "Each objective had 2 trials on held-out training classes to find its settings."
    assert note in " ".join(report.stdout.split())
    assert note in (tmp_path / "out/README.md").read_text()
    assert note in (tmp_path / "out/index.html").read_text()
    rows = store.load(tmp_path / "results/search").set_index("seed")
    assert set(rows.index) == {1000}
    assert f"{100 * rows['validation_map_at_r'].max():.1f}" in told.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--write", "nowhere/found.toml"), "there is no such folder"),
        (("--write", "."), "is a folder"),
        (("--force",), "--force belongs to --write"),
        (("--trials", "0"), "--trials"),
        (("--set", "recipe.epochs=0"), "there is nothing to search"),
        (("--set", "losses=[]"), "losses and ensembles are both empty"),
    ],
)
def test_a_wrong_request_is_one_sentence(tmp_path, words, sentence):
    matrix_file(tmp_path)
    told = bench(tmp_path, "search", "tiny.toml", *words)
    assert told.returncode == 2
    assert sentence in told.stderr
    assert "Traceback" not in told.stderr
    assert not (tmp_path / "results").exists()
