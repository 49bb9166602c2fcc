"""What many SIGKILLs cost a run: nothing but the work since the last checkpoint of each job.

    PYTHONPATH=tests python -P tests/perf/kills.py [--kills 100] [--seed 0] [--interval 2]

A small matrix runs once undisturbed. Then it runs in another folder while a worker, the command itself or all of them
at once are killed at random moments, and the same command is given again until all is done. In the end every cell must
have one row, with the same embeddings, bit for bit. How much each kill cost is known from the training steps, which a
loss writes down with their times; the checkpoint interval bounds it.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import psutil

import bench
from bench.store.checked_files import SEEN
from bench.store.row_journal import NOTED

LOSS = '''
"""A softmax that writes down every training step: in which process, and when."""

import json, os, time

import torch
from torch import nn
from torch.nn import functional as F

PLACE = {place!r}


class Logged(nn.Module):
    def __init__(self, shape, tag):
        super().__init__()
        self.tag = tag
        self.proxies = nn.Parameter(torch.randn(shape.classes, shape.dim))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, embeddings, labels):
        self.steps += 1
        line = json.dumps([os.getpid(), int(self.steps), time.time()]) + "\\n"
        with open(f"{{PLACE}}/{{self.tag}}", "a") as file:
            file.write(line)
        return F.cross_entropy(embeddings @ F.normalize(self.proxies).T / 0.1, labels) + 0 * torch.rand(())


def logged(shape, *, tag: str = "a"):
    """Softmax over proxies; `tag` names the file of its steps."""
    return Logged(shape, tag)
'''
MATRIX = """
datasets = [{ name = "glyphs", classes = 12, images_per_class = 8, test_classes = 8, test_images_per_class = 4 }]
backbones = [{ name = "conv4", width = 8 }]
losses = [
    { name = "logged", tag = "a", label = "a" },
    { name = "logged", tag = "b", label = "b", recipe = { head_epochs = 20 } },
    { name = "triplet", label = "c", recipe = { validation = { folds = 2 }, classes_per_batch = 4 } },
]
ensembles = [
    { name = "diverse_heads", label = "d", members = [{ name = "logged", tag = "d", label = "d1" }, "proxy_anchor"] },
    { name = "cross_batch_memory", label = "e", members = ["contrastive"] },
]
model_ensembles = [{ name = "concatenate", members = ["a", "b"] }]
controls = false
[recipe]
epochs = 120
dim = 16
classes_per_batch = 6
images_per_class = 4
restarts = 2
"""
SLACK = 1.0
"""Seconds beside the interval: the step that is under way, and writing the checkpoint."""


class Lost(NamedTuple):
    """Work that a kill cost."""

    tag: str
    seconds: float


def main(kills: int, seed: int, interval: float) -> int:
    """Kill so often, and print what came of it; 1 where anything is missing, doubled or different."""
    draw, scratch = random.Random(seed), Path(tempfile.mkdtemp(prefix="kills-"))
    print(f"files in {scratch}")
    calm = place(scratch, "calm")
    began = time.monotonic()
    process = start(calm, interval)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    expected, seconds = outcomes(calm), time.monotonic() - began
    print(f"undisturbed: {len(expected)} cells in {seconds:.0f} s")
    done, lost, wrong = Counter[str](), list[Lost](), 0
    while done.total() < kills:
        wild = place(scratch, f"wild-{done.total()}")
        done += disturbed(wild, draw, kills - done.total(), interval)
        wrong += outcomes(wild) != expected
        lost += losses(wild)
        most = max(one.seconds for one in lost)
        print(f"{done.total()} kills ({dict(done)}): {wrong} matrices differ, at most {most:.1f} s lost", flush=True)
    late = [one for one in lost if one.seconds > interval + SLACK]
    print(f"{len(lost)} times a job was continued; {len(late)} times more than {interval:g} s + {SLACK:g} s were lost")
    return int(bool(wrong or late))


def place(scratch: Path, name: str) -> Path:
    """A folder for one run of the matrix, and for the steps that its loss writes down."""
    folder = scratch / name
    (folder / "steps").mkdir(parents=True)
    (folder / "my_losses.py").write_text(LOSS.format(place=str(folder / "steps")), encoding="utf-8")
    (folder / "matrix.toml").write_text(MATRIX, encoding="utf-8")
    return folder


def start(folder: Path, interval: float) -> subprocess.Popen[str]:
    """`bench run` of the matrix, in a session of its own."""
    command = [sys.executable, "-P", "-m", "bench.cli.start", "run", str(folder / "matrix.toml")]
    command += ["--results", str(folder / "runs"), "--plugin", str(folder / "my_losses.py"), "--workers", "2"]
    command += ["--checkpoint-every", str(interval / 60)]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def disturbed(folder: Path, draw: random.Random, most: int, interval: float) -> Counter[str]:
    """Run the matrix until all is done, killing at most so often; how often what was killed."""
    done = Counter[str]()
    while True:
        process = start(folder, interval)
        alive = True
        while alive and done.total() < most and steps_begin(folder, process):
            time.sleep(draw.uniform(0, 2 * interval))
            what = draw.choice(("worker", "command", "all"))
            if process.poll() is None and kill(what, process, draw):
                done[what] += 1
                print(f"{folder.name}: {done.total()} kills", flush=True)
                alive = what == "worker"
        said = process.communicate()[1]
        if process.returncode == 0:
            return done
        assert process.returncode in (-signal.SIGKILL, 1), said


def steps_begin(folder: Path, process: subprocess.Popen[str]) -> bool:
    """Wait for the next training step; False where the command ends before."""
    before = size(folder)
    while process.poll() is None:
        if size(folder) > before:
            return True
        time.sleep(0.02)
    return False


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in (folder / "steps").iterdir())


def kill(what: str, process: subprocess.Popen[str], draw: random.Random) -> bool:
    """SIGKILL for one worker, for the command alone, or for all at once."""
    workers = psutil.Process(process.pid).children()
    if what == "worker":
        if not workers:
            return False
        draw.choice(workers).kill()
    elif what == "command":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    return True


def outcomes(folder: Path) -> dict[str, tuple[str, str]]:
    """Label and seed of each cell -> its status and the hash of its embeddings; no cell is there twice."""
    rows = bench.load(folder / "runs")
    found = {f"{row.objective} {row.seed}": (row.status, row.embeddings_sha) for row in rows.itertuples()}
    assert len(found) == len(rows), "a cell has two rows"
    left = {path.name for path in (folder / "runs").iterdir()} - {NOTED, SEEN} - set(rows["key"])
    assert not left, f"left behind: {left}"
    return found


def losses(folder: Path) -> list[Lost]:
    """For every job that was continued, the seconds of training that were done again."""
    return [lost for file in (folder / "steps").iterdir() for lost in _losses(file)]


def _losses(file: Path) -> Iterator[Lost]:
    attempts: dict[int, dict[int, float]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        process, step, at = json.loads(line)
        attempts.setdefault(process, {})[step] = at
    for before, after in pairwise(attempts.values()):
        again = [at for step, at in before.items() if step >= min(after)]
        yield Lost(file.name, max(again) - min(again) if again else 0.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--interval", type=float, default=2.0, help="seconds between checkpoints")
    sys.exit(main(**vars(parser.parse_args())))
