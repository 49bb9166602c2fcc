"""The same jobs locally and on a Ray cluster of this machine: seconds per job, what Ray adds, whether bits are equal.

    PYTHONPATH=tests python -P tests/perf/executors.py [JOBS] [WORKERS]      # by default 100 and 1; needs Ray

A job is as short as one can be: a network of four layers that is not trained. Counted is the time from the first start
of a job to the end of the last one, so the start of workers and of Ray is left out.
"""

import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table
from support.jobs import matrix_file

import bench
from bench.execute.event import ENDINGS

SAME = ["status", "embeddings_sha", "first_hits_sha", "recall_at_1", "nmi"]


def seconds_per_job(matrix: Path, results: Path, **way: str) -> float:
    """Of all workers together."""
    began, ended, jobs = 0.0, 0.0, 0
    for event in bench.run(matrix, results=results, changes=["recipe.epochs=0"], workers=WORKERS, **way):
        began = began or (time.monotonic() if event.kind == "started" else 0.0)
        if event.kind in ENDINGS:
            ended, jobs = time.monotonic(), jobs + 1
    return (ended - began) / jobs


def rows(results: Path) -> pd.DataFrame:
    """What has to be equal, by key."""
    return bench.load(results).set_index("key").sort_index()[SAME]


def main(jobs: int) -> None:
    table = Table("executor", "jobs", "seconds per job")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        matrix = matrix_file(folder, losses='["triplet"]', seeds=str(jobs))
        local = seconds_per_job(matrix, folder / "local")
        remote = seconds_per_job(matrix, folder / "ray", executor="ray", address="local")
        same = rows(folder / "local").equals(rows(folder / "ray"))
    for executor, seconds in (("local", local), ("ray", remote), ("what Ray adds", remote - local)):
        table.add_row(executor, f"{jobs:,}", f"{seconds:.3f}")
    Console().print(table)
    print(f"the rows are {'equal' if same else 'NOT equal'} bit for bit")


if __name__ == "__main__":
    JOBS, WORKERS = (int(given) for given in (*sys.argv[1:], *("100", "1")[len(sys.argv) - 1 :]))
    main(JOBS)
