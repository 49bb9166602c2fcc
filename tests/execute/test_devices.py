import shutil
import subprocess
import sys

import psutil
import pytest
from support.jobs import matrix_file

import bench
from bench.execute import devices as module
from bench.execute.devices import devices, places
from bench.matrix.job import ConfigError


def test_every_gpu_that_the_driver_lists_is_a_device():
    listed = []
    if shutil.which("nvidia-smi"):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout.splitlines()
    assert len([device for device in devices("auto") if device != "cpu"]) == len(listed)


@pytest.mark.parametrize(
    ("wanted", "gpus", "count", "expected"),
    [
        ("auto", 2, None, ["cuda:0", "cuda:1"]),
        ("cuda", 2, 3, ["cuda:0", "cuda:1", "cuda:0"]),
        ("auto", 0, 2, ["cpu", "cpu"]),
        ("cpu", 2, 1, ["cpu"]),
    ],
)
def test_workers_go_round_the_devices(monkeypatch, wanted, gpus, count, expected):
    monkeypatch.setattr(module, "_gpus", lambda: gpus)
    assert places(wanted, count) == expected


@pytest.mark.parametrize(
    ("gpus", "held", "count", "expected"),
    [
        (2, 0.5, None, ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]),
        (1, 0.3, None, ["cuda:0"] * 3),
        (1, 0.25, 2, ["cuda:0"] * 2),
        (2, 0, 1, ["cpu"]),
    ],
)
def test_jobs_may_hold_a_part_of_a_gpu(monkeypatch, gpus, held, count, expected):
    monkeypatch.setattr(module, "_gpus", lambda: gpus)
    assert places("auto", count, gpus=held) == expected


def test_there_must_be_a_gpu_to_hold(monkeypatch):
    monkeypatch.setattr(module, "_gpus", lambda: 0)
    with pytest.raises(ConfigError, match=r"--gpus-per-job 0\.25: torch sees no GPU here"):
        places("auto", gpus=0.25)


@pytest.mark.parametrize(("wanted", "sentence"), [("gpu", "choose auto, cpu or cuda"), ("cuda", "use --device cpu")])
def test_what_is_not_there_is_refused(monkeypatch, wanted, sentence):
    monkeypatch.setattr(module, "_gpus", lambda: 0)
    with pytest.raises(ConfigError, match=sentence):
        devices(wanted)


def test_threads_share_the_cores(monkeypatch):
    monkeypatch.setattr(module, "_cores", lambda: 9)
    assert [len(places("cpu", threads=threads)) for threads in (1, 4, 16)] == [9, 2, 1]


@pytest.mark.skipif(not hasattr(psutil.Process, "cpu_affinity"), reason="a process here runs on any core")
def test_only_the_cores_that_the_process_may_use_count():
    code = "import psutil; psutil.Process().cpu_affinity([0]); from bench.execute.devices import places; "
    found = subprocess.run([sys.executable, "-c", f"{code}print(places('cpu'))"], capture_output=True, text=True)
    assert found.stdout.strip() == "['cpu']", found.stderr


@pytest.mark.parametrize(
    ("text", "lacks"),
    [
        ("processor : 0\nflags\t\t: fpu avx2 avx512f\n", True),
        ("processor : 0\nflags\t\t: fpu avx512f avx512_bf16\n", False),
        ("processor : 0\nflags\t\t: fpu amx_bf16\n", False),
        ("processor : 0\nFeatures\t: fp asimd bf16\n", False),
        ("processor : 0\nFeatures\t: fp asimd\n", True),
        ("cpu family : 6\n", False),
        ("", False),
        (None, False),
    ],
)
def test_whether_the_processor_is_known_to_lack_bfloat16(monkeypatch, tmp_path, text, lacks):
    file = tmp_path / "cpuinfo"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(module, "CPUINFO", file)
    assert module.lacks_bfloat16() is lacks


@pytest.mark.usefixtures("no_workers")
def test_who_asks_for_bfloat16_in_vain_is_told(monkeypatch, tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("flags : fpu avx2\n")
    monkeypatch.setattr(module, "CPUINFO", file)
    changes = ["recipe.precision='bfloat16'", "recipe.epochs=1", 'losses=["triplet"]']
    matrix, options = matrix_file(tmp_path), {"changes": changes, "device": "cpu", "workers": 1}
    with pytest.warns(UserWarning, match="this processor has no instructions for it, and may take ten times as long"):
        list(bench.run(matrix, results=tmp_path / "runs", **options))
    assert len(bench.load(tmp_path / "runs")) == 1
    list(bench.run(matrix, results=tmp_path / "runs", **options))  # nothing is left to run: nothing is said
