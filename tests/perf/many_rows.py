"""What commands cost on very many rows: seconds of the processor, memory, and how they grow.

    PYTHONPATH=tests:. python -P tests/perf/many_rows.py [ROWS ...]      # by default 10,000 and 100,000

The rows are those of a matrix of ten datasets, four backbones, 25 seeds and as many objectives as it takes: with
100,000 rows 100 objectives on each of 40 boards. No job is trained: rows are written as jobs leave them, with made-up
scores and logs, but without queries, and without waiting for the disk. Each command is a process of its own.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from perf.many_cells import LOAD, made_up, matrix_text
from rich.console import Console
from rich.table import Table
from support.command_cost import Cost, cost

from bench.execute.data_check import check
from bench.matrix.expand import expand
from bench.matrix.file import load
from bench.store.folder import _write_files
from bench.store.row_cache import KEPT

SIZES = {"datasets": 10, "backbones": 4, "seeds": 25}
BENCH = ("-m", "bench.cli.start")


def fill(matrix: Path, results: Path) -> int:
    """Store a row of every job, as if it had run; how many."""
    generator, jobs = np.random.default_rng(0), expand(load(str(matrix)))
    first = {job.dataset.label: job for job in jobs}
    shas = {label: split.sha for label, split in check(list(first.values()), None).items()}
    for number, job in enumerate(jobs):
        (results / job.key).mkdir(parents=True)
        _write_files(results / job.key, made_up(job, number, generator, sha=shas[job.dataset.label], whole=True))
    return len(jobs)


def costs(folder: Path) -> Iterator[tuple[str, Cost]]:
    """Name -> of each command, in an order in which no one profits from another one but where it says so."""
    results, packed = folder / "runs", folder / "packed.parquet"
    matrix, at, of_file = str(folder / "rows.toml"), ("--results", str(results)), ("--results", str(packed))
    yield "load, at first", cost("-c", LOAD, str(results), folder=folder)
    yield "load, again", cost("-c", LOAD, str(results), folder=folder)
    yield "bench run, all done, at first", cost(*BENCH, "run", matrix, *at, folder=folder)
    yield "bench run, all done, again", cost(*BENCH, "run", matrix, *at, folder=folder)
    yield "bench status", cost(*BENCH, "status", matrix, *at, folder=folder)
    yield "bench report", cost(*BENCH, "report", *at, "--output", str(folder / "page"), folder=folder)
    yield "bench pack", cost(*BENCH, "pack", str(packed), *at, folder=folder)
    yield "load, the packed file", cost("-c", LOAD, str(packed), folder=folder)
    page = ("--output", str(folder / "page2"))
    yield "bench report, the packed file", cost(*BENCH, "report", *of_file, *page, folder=folder)


def main(*sizes: int) -> None:
    found: dict[str, dict[int, Cost]] = {}
    for rows in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder, started = Path(name), time.monotonic()
            text = matrix_text(rows, **SIZES).replace("seeds =", "controls = false\nseeds =", 1)
            (folder / "rows.toml").write_text(text, encoding="utf-8")
            count = fill(folder / "rows.toml", folder / "runs")
            print(f"{time.monotonic() - started:.0f} s: {count:,} rows", file=sys.stderr, flush=True)
            for what, one in costs(folder):
                found.setdefault(what, {})[rows] = one
                print(f"{time.monotonic() - started:.0f} s: {what} {one}", file=sys.stderr, flush=True)
            print(f"kept rows: {(folder / 'runs' / KEPT).stat().st_size / 1e6:.1f} MB", file=sys.stderr, flush=True)
    table = Table("command", *(f"{rows:,} rows" for rows in sizes))
    for what, each in found.items():
        table.add_row(what, *(f"{each[rows].processor:.1f} s, {each[rows].megabytes:.0f} MB" for rows in sizes))
    Console().print(table)


if __name__ == "__main__":
    main(*(map(int, sys.argv[1:]) if len(sys.argv) > 1 else (10_000, 100_000)))
