"""What a million stored embeddings cost to read: time and memory, from a .npy and from a Parquet file of one row group.

    python tests/perf/vectors.py [rows [width]]

Budget: 8 GB of memory at 1,000,000 x 768, where 3.6 GB were measured, of which 0.4 GB anonymous. It writes about four
times the size of the vectors, 12 GB, into a folder that is removed. Each file is read in a process of its own. The
anonymous part of the memory is what the system cannot take back; the rest is pages of files that are mapped.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import multiprocessing
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from rich.console import Console
from rich.table import Table

from bench.datasets.embeddings import embeddings

CLASSES, CHUNK = 10_000, 10_000
GB = 1e9


def write_npy(folder: Path, rows: int, width: int) -> str:
    draws = np.random.default_rng(0)
    array = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float32, (rows, width))
    for start in range(0, rows, CHUNK):
        array[start : start + CHUNK] = draws.standard_normal((min(CHUNK, rows - start), width), np.float32)
    lines = (f"{row % CLASSES},{'train' if row % CLASSES < CLASSES // 2 else 'test'}\n" for row in range(rows))
    (folder / "x.csv").write_text("label,split\n" + "".join(lines), encoding="utf-8")
    return "x.npy"


def write_parquet(folder: Path, rows: int, width: int) -> str:
    array = np.load(folder / "x.npy", mmap_mode="r")
    labels = np.arange(rows) % CLASSES
    column = pa.FixedSizeListArray.from_arrays(pa.array(np.asarray(array).reshape(-1)), width)
    sides = np.where(labels < CLASSES // 2, "train", "test")
    table = pa.table({"embedding": column, "label": labels, "split": sides})
    parquet.write_table(table, folder / "y.parquet", row_group_size=rows)
    return "y.parquet"


def anonymous() -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024 / GB


def measure(folder: str, path: str, send: object) -> None:
    """Seconds of the first reading and of the second, peaks of all memory and of its anonymous part, in GB."""
    peak, going = [0.0], True

    def watch() -> None:
        while going:
            peak[0] = max(peak[0], anonymous())
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    marks = [time.perf_counter()]
    for _ in range(2):
        split = embeddings(Path(folder), path=path)
        marks.append(time.perf_counter())
    going = False
    watcher.join()
    rows = len(split.train.labels) + len(split.test.labels)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GB
    send.put((rows, marks[1] - marks[0], marks[2] - marks[1], most, peak[0]))


def main(rows: int = 1_000_000, width: int = 768) -> None:
    table = Table("file", "rows", "first, s", "again, s", "peak, GB", "anonymous, GB", title=f"{rows:,} x {width}")
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for write in (write_npy, write_parquet):
            os.environ["BENCH_CACHE"] = str(Path(folder) / "cache")
            writer = context.Process(target=write, args=(Path(folder), rows, width))
            writer.start()
            writer.join()
            path = "x.npy" if write is write_npy else "y.parquet"
            send = context.Queue()
            reader = context.Process(target=measure, args=(folder, path, send))
            reader.start()
            read, first, again, most, own = send.get()
            reader.join()
            table.add_row(path, f"{read:,}", f"{first:.1f}", f"{again:.2f}", f"{most:.2f}", f"{own:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
