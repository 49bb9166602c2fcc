"""What `bench doctor` tells: every fact has a value, and every fault that is planted is named with its mend."""

import json
import os
import subprocess
import sys

import pytest
from support.jobs import tiny
from support.stored import finished
from support.unprivileged import called
from typer.testing import CliRunner

from bench import store
from bench.cli.app import app
from bench.execute import environment
from bench.execute.environment import Fact

JOBS = tiny(seeds=2)
NAMES = ["Python", "Packages", "Devices", "Threads", "Memory", "Text", "Data", "Cache", "Results", "Weights"]


def told(*arguments: object, **others: str) -> tuple[int, dict[str, Fact]]:
    done = CliRunner().invoke(app, ["doctor", "--json", *map(str, arguments)], env=others)
    found = json.loads(done.stdout)
    facts = {fact["name"]: Fact(fact["name"], fact["value"], tuple(fact["problems"])) for fact in found["facts"]}
    assert found["good"] == (not any(fact.problems for fact in facts.values())) == (done.exit_code == 0)
    return done.exit_code, facts


def test_a_sound_place_is_told_on_one_screen(tmp_path):
    for job in JOBS:
        store.write(tmp_path / "runs", finished(job))
    done = CliRunner().invoke(app, ["doctor", "--results", str(tmp_path / "runs")])
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if line][: len(NAMES)] == NAMES
    assert len(lines) < 24
    assert (done.exit_code, lines[-1]) == (0, "nothing is wrong"), done.output
    assert "2 jobs" in next(line for line in lines if line.startswith("Results"))


def test_faults_of_folders_are_named_and_give_exit_code_1(tmp_path):
    store.write(tmp_path / "runs", finished(JOBS[0]))
    (tmp_path / "runs" / JOBS[0].key / "row.parquet").write_bytes(b"")
    (tmp_path / "file").write_text("no folder")
    code, facts = told("--results", tmp_path / "runs", "--data", tmp_path / "nowhere")
    assert code == 1
    assert [name for name, fact in facts.items() if fact.problems] == ["Data", "Results"]
    assert JOBS[0].key in facts["Results"].problems[0]
    assert "BENCH_DATA" in facts["Data"].problems[0]


def test_a_closed_cache_is_named(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o500)
    (ended,) = called([["doctor", "--results", tmp_path / "runs"]], BENCH_CACHE=str(closed / "cache"))
    assert ended.code == 1
    assert f"{closed} cannot be written: set BENCH_CACHE" in ended.stderr


def test_a_terminal_without_unicode_is_told(tmp_path):
    """In a process of its own: how names of files are read is decided when Python starts."""
    path = os.pathsep.join(filter(None, sys.path))
    script = "from bench.execute.environment import _text; print(*_text().problems)"
    for utf8, said in (("1", ""), ("0", "export PYTHONUTF8=1")):
        settings = {"LC_ALL": "C", "PYTHONUTF8": utf8, "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": path}
        done = subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, **settings}, capture_output=True, text=True, check=True
        )
        assert said in done.stdout
        assert bool(done.stdout.strip()) == bool(said)


@pytest.mark.parametrize(
    ("requirement", "name", "least"),
    [
        ("torch>=2.11", "torch", "2.11"),
        ("pandas-stubs >= 2.2 ; python_version > '3'", "pandas-stubs", "2.2"),
        ("lossbench[trunks]", "lossbench", "0"),
        ("a.b_c==1.0", "a.b_c", "0"),
    ],
)
def test_requirements_are_understood(requirement, name, least):
    assert environment._requirement(requirement) == (name, least)


@pytest.mark.parametrize(
    ("older", "newer"), [("2.9.0", "2.10"), ("2.10", "2.11.0+cpu"), ("0", "0.1"), ("16.1.0", "17.0.0rc1")]
)
def test_versions_are_compared_as_numbers(older, newer):
    assert environment._numbers(older) < environment._numbers(newer)


def test_a_container_limit_counts_where_it_is_less(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("5000000000\n")
    (tmp_path / "memory.current").write_text("4500000000\n")
    monkeypatch.setattr(environment, "CGROUP", tmp_path)
    fact = environment._memory()
    assert fact.value == "0.5 GB free within the container's limit"
    assert "only 0.5 GB of memory are free" in fact.problems[0]
    (tmp_path / "memory.max").write_text("max\n")
    assert environment._memory().value.endswith("of the machine")


def test_openmp_of_two_makers_is_a_fault_and_two_copies_of_one_are_none():
    makers = [environment._whose(name) for name in ("libgomp-a34b3233", "libgomp", "libiomp5", "libomp", "libopenblas")]
    assert makers == ["GNU", "GNU", "Intel", "LLVM", None]
    assert environment._clash(["GNU"]) == environment._clash([]) == ()
    assert "GNU and Intel" in environment._clash(["GNU", "Intel"])[0]
