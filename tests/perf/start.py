"""How long commands take to start, and what a worker takes before it trains and at its peak.

    PYTHONPATH=tests python -P tests/perf/start.py

Seconds of the processor, medians of five. The finished matrix has two cells. The worker trains Conv-4 on letters of 32
pixels in batches of 128; its memory is what is resident. Nothing here passes or fails.
"""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table
from support.command_cost import cost
from support.jobs import matrix_file

from bench.execute.pool import Worker
from bench.execute.worker import Setup
from bench.matrix.expand import expand
from bench.matrix.file import load

ROUNDS = 5
BENCH = ("-P", "-m", "bench.cli.start")
IMPORTS = """
import time
marks = [time.process_time()]
import torch
marks.append(time.process_time())
import faiss, bench.job.run, bench.job.cannot_build
marks.append(time.process_time())
print(*(later - before for before, later in zip(marks, marks[1:])))
"""
PARTS = ("torch", "all else")


def commands(folder: Path) -> list[tuple[str, str]]:
    """Each with its seconds."""
    matrix = str(matrix_file(folder))
    subprocess.run(
        [sys.executable, *BENCH, "run", matrix, "--results", folder / "runs"], capture_output=True, check=True
    )
    asked = {
        "bench --help": ("--help",),
        "bench plan demo": ("plan", "demo"),
        "bench run, all done": ("run", matrix, "--results", str(folder / "runs")),
    }
    found = []
    for name, arguments in asked.items():
        seconds = [cost(*BENCH, *arguments, folder=folder).processor for _ in range(ROUNDS)]
        found.append((name, f"{statistics.median(seconds):.2f} s"))
    return found


def imports() -> list[tuple[str, str]]:
    """What a worker imports, each with its seconds."""
    ran = [
        subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
        for _ in range(ROUNDS)
    ]
    columns = zip(*([float(part) for part in one.stdout.split()] for one in ran), strict=True)
    return [
        (f"a worker imports {name}", f"{statistics.median(column):.2f} s")
        for name, column in zip(PARTS, columns, strict=True)
    ]


def memory(folder: Path) -> list[tuple[str, str]]:
    """Of a worker, before it trains and at its peak."""
    (job, *_) = expand(load("demo", ["recipe.epochs=1"]))
    worker = Worker(Setup("cpu", 1, folder, None))
    worker.start()
    worker.socket.send([])
    worker.socket.recv()
    process = psutil.Process(worker.process.pid)
    before = process.memory_info().rss
    worker.socket.send(job)
    while worker.socket.recv().kind != "done":
        pass
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    (peak,) = (int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    worker.kill()
    worker.bury()
    return [
        ("memory of a worker that waits for its first job", f"{before / 1e9:.2f} GB"),
        ("at its peak, once it has trained one", f"{peak / 1e9:.2f} GB"),
    ]


def main() -> None:
    """Measure and print."""
    table = Table("what", "measured")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for row in (*commands(folder), *imports(), *memory(folder)):
            table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
