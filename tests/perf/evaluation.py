"""What an evaluation costs, against the bare search and the bare k-means that it cannot do without.

    python tests/perf/evaluation.py [--threads 2] [--rounds 1] [CASE ...]

Embeddings are made up at the sizes of Stanford Online Products and of In-Shop, 512 wide, L2-normalised. Each case runs
in a fresh process: our evaluation first, for its memory, then the floors, as often as there are rounds. Columns:
how deep is searched, Recall@1, seconds of each, ours over search and k-means together, the same of the processors'
seconds, and the memory of ours beyond the embeddings. Machines are noisy, so nothing here passes or fails.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.scoring.evaluation import evaluate

DIM = 512
BUDGET = 1.15


class Case(NamedTuple):
    """Embeddings of this many images, and how deep they are searched."""

    images: int
    classes: int
    ks: tuple[int, ...]
    queries: int | None = None
    """How many of the images are queries and the rest a gallery; None: all are, among themselves."""
    kind: str = "clusters"


DEEP = (1, 10, 100, 1000)
CASES = {
    "SOP": Case(60_502, 11_316, DEEP),
    "SOP, shallow": Case(60_502, 11_316, (1, 10)),
    "In-Shop": Case(26_830, 3_985, DEEP, queries=14_218),
    "In-Shop, shallow": Case(26_830, 3_985, (1, 10), queries=14_218),
    "noise": Case(60_502, 11_316, DEEP, kind="noise"),
    "copies": Case(60_502, 11_316, DEEP, kind="copies"),
    "copies, shallow": Case(60_502, 11_316, (1, 10), kind="copies"),
}
"""The first four are measured unless others are named. Of `copies`, every vector stands there forty times."""


def embeddings(case: Case) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Classes of two to twelve images around centres that overlap, so that Recall@1 is about 0.7."""
    rng = np.random.default_rng(0)
    more = rng.choice(10 * case.classes, case.images - 2 * case.classes, replace=False) // 10
    labels = rng.permutation(np.concatenate([np.arange(case.classes).repeat(2), more]))
    points = rng.standard_normal((case.images, DIM), dtype=np.float32)
    if case.kind == "clusters":
        centres = rng.standard_normal((case.classes, 32), dtype=np.float32) @ rng.standard_normal((32, DIM))
        spread = 1.25 * rng.uniform(0.3, 1.7, case.classes)
        points = centres[labels] / 32**0.5 + spread[labels, None] * points
    elif case.kind == "copies":
        points = points[rng.integers(0, case.images // 40, case.images)]
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32), labels


def timed(work: Callable[[], Any]) -> tuple[NDArray[np.float64], Any]:
    """Seconds passed, and of all processors, and what the work returned."""
    start = np.array([time.perf_counter(), time.process_time()])
    result = work()
    return np.array([time.perf_counter(), time.process_time()]) - start, result


def peak() -> int:
    """The most memory that this process has held, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says starts from the memory of the process that started this one
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(name: str, folder: Path, threads: int, rounds: int) -> dict[str, Any]:
    """One case, in this process: times of ours, the search and k-means, and the memory of ours beyond embeddings."""
    faiss.omp_set_num_threads(threads)
    torch.set_num_threads(threads)
    case, labels = CASES[name], np.load(folder / "labels.npy")
    evaluate(np.eye(600, 64, dtype=np.float32), labels[:600] % 9, restarts=1)  # first allocations
    points = np.load(folder / "points.npy")
    cut = case.queries or case.images
    gallery, gallery_labels = (None, None) if case.queries is None else (points[cut:], labels[cut:])
    queries = points[:cut]
    options: Any = {"gallery": gallery, "gallery_labels": gallery_labels}
    pool, classes = queries if gallery is None else gallery, len(np.unique(labels[:cut]))
    most = int(np.bincount(labels[:cut] if gallery is None else labels[cut:]).max())
    depth = max(max(case.ks) + (gallery is None), most)
    limits = {"niter": 20, "min_points_per_centroid": 1, "max_points_per_centroid": cut}
    works: dict[str, Callable[[], Any]] = {
        "ours": lambda: evaluate(queries, labels[:cut], **options, ks=case.ks, restarts=1),
        "search": lambda: faiss.knn(queries, pool, depth),
        "k-means": lambda: faiss.Kmeans(DIM, classes, **limits).train(queries),
    }
    before = psutil.Process().memory_info().rss
    times: dict[str, list[list[float]]] = {work: [] for work in works}
    found: dict[str, Any] = {}
    for turn in range(rounds):
        for work, run in works.items():
            spent, scores = timed(run)
            times[work].append(spent.tolist())
            if not turn and work == "ours":
                found = {"memory": (peak() - before) / 1e9, "recall_at_1": scores["recall_at_1"], "depth": depth}
            del scores
    return {**found, "times": times}


def in_a_fresh_process(name: str, threads: int, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        points, labels = embeddings(CASES[name])
        np.save(Path(folder) / "points.npy", points)
        np.save(Path(folder) / "labels.npy", labels)
        del points, labels
        command = [sys.executable, __file__, name, "--threads", str(threads), "--rounds", str(rounds), "--in", folder]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def row(name: str, found: dict[str, Any]) -> list[str]:
    """The case's line of the table: medians over rounds."""
    wall, processor = ({work: [turn[i] for turn in turns] for work, turns in found["times"].items()} for i in (0, 1))
    ratios = [
        statistics.median(a / (b + c) for a, b, c in zip(*side.values(), strict=True)) for side in (wall, processor)
    ]
    seconds = [f"{statistics.median(times):.1f}" for times in wall.values()]
    recall = f"{found['recall_at_1']:.3f}"
    return [
        name,
        str(found["depth"]),
        recall,
        *seconds,
        *(f"{ratio:.3f}" for ratio in ratios),
        f"{found['memory']:.2f}",
    ]


def main() -> None:
    """Measure and print; within a fresh process, print what was measured there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of: {', '.join(CASES)}")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--in", dest="folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.folder:
        print(json.dumps(measure(asked.cases[0], asked.folder, asked.threads, asked.rounds)))
        return
    title = f"seconds of an evaluation, one restart, {asked.threads} threads; budget: ratio {BUDGET}, 1.5 GB"
    table = Table("case", "deep", "R@1", "ours", "search", "k-means", "ratio", "of CPU", "GB", title=title)
    for name in asked.cases or list(CASES)[:4]:
        table.add_row(*row(name, in_a_fresh_process(name, asked.threads, asked.rounds)))
    Console().print(table)


if __name__ == "__main__":
    main()
