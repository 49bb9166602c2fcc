"""Where output goes: terminals and files that have fewer letters, and readers that have seen enough."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.jobs import matrix_file, tiny
from support.stored import finished

from bench import store

LABELLED = '[{ name = "triplet", label = "三元组" }]'


def bench(*arguments: object, encoding: str = "utf-8", shell: str = "") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-P", "-m", "bench.cli.app", *map(str, arguments)]
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONIOENCODING": encoding}
    shelled = ["bash", "-c", f'set -o pipefail; "$@" | {shell}', "bash", *command] if shell else command
    return subprocess.run(shelled, env={**os.environ, **path}, capture_output=True)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_letters_that_a_terminal_lacks_are_escaped(tmp_path: Path, encoding: str) -> None:
    """Those that it has stay; a sign that is lost would make a loss a gain."""
    runs, matrix = tmp_path / "runs", matrix_file(tmp_path, losses=LABELLED)
    for job in tiny(losses=[{"name": "triplet", "label": "三元组"}], seeds=2):
        store.write(runs, finished(job))
    np.savez(tmp_path / "x.npz", embeddings=np.eye(4), labels=[0, 0, 1, 1])
    for arguments in (
        ["plan", matrix, "--results", tmp_path / "other"],
        ["report", "--results", runs, "--output", tmp_path / "page"],
        ["evaluate", tmp_path / "x.npz", "--convention", "all"],
    ):
        done = bench(*arguments, encoding=encoding)
        assert done.returncode == 0, done.stderr.decode()
        assert b"Traceback" not in done.stderr
        kept = (
            "三元组".encode() if encoding == "ascii" else b"nothing"
        )  # click takes that for a mistake, and writes UTF-8
        assert arguments[0] == "evaluate" or rb"\u4e09\u5143\u7ec4" in done.stdout or kept in done.stdout
    assert "三元组" in (tmp_path / "page" / "README.md").read_text(encoding="utf-8")


def test_a_reader_that_has_seen_enough_gets_no_traceback() -> None:
    done = bench("list", "losses", "--json", shell="head -c 10")
    assert b"Traceback" not in done.stderr
    assert len(done.stdout) == 10
