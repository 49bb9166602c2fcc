"""How often `bench check` raises false alarms, and which planted faults it finds: writes results/calibration.md.

    python tests/perf/calibrate.py [--minutes 40] [--pool 20] [--checks 30] [--set recipe.epochs=1] ...

Trains the matrix smoke in two processes: clean seeds, the same after a one-ulp change, and each fault. Rows are kept as
they come, in results/calibration/, so the same command again continues; remove that folder after a change of the
program. When the minutes are over, the page is written from what there is.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from pathlib import Path

from bench.execute.pool import MEMORY

os.environ.update({**MEMORY, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})  # before torch is imported

from perf.calibration import Sizes, page
from perf.faults import CLEAN, FAULTS, ONE_ULP, UNNORMALISED, Condition, folder, prepare, train

from bench import store
from bench.matrix.expand import expand
from bench.matrix.file import load
from bench.matrix.job import Job

ROOT = Path(__file__).parents[2]
Task = tuple[Condition, Job]


def tasks(jobs: dict[int, list[Job]], sizes: Sizes) -> Iterator[Task]:
    """All trainings, the baseline first, then each kind in its turn, so that a run cut short has some of all."""
    for seed in range(sizes.baseline):
        yield from ((CLEAN, job) for job in jobs[seed])
    for place in range(max(sizes.pool - sizes.baseline, sizes.one_ulp, sizes.faulty)):
        counts = [(ONE_ULP, place, sizes.one_ulp), *((fault, place, sizes.faulty) for fault in FAULTS)]
        for condition, seed, count in [*counts, (CLEAN, sizes.baseline + place, sizes.pool)]:
            if seed < count:
                yield from ((condition, job) for job in jobs[seed] if touched(condition, job))


def touched(condition: Condition, job: Job) -> bool:
    return not condition.touches or job.objective.name in condition.touches


def stored(home: Path, condition: Condition) -> set[str]:
    place = folder(home, condition)
    return set(store.load(place)["key"]) if place.exists() else set()


def run(todo: list[Task], home: Path, *, seconds: float) -> None:
    """Train in two processes until all is done or the time is over."""
    end, ended = time.monotonic() + seconds, 0
    waiting, running = iter(todo), set[Future[None]]()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context, initializer=prepare) as processes:
        while True:
            room = 3 - len(running) if time.monotonic() < end else 0
            for condition, job in islice(waiting, room):
                running.add(processes.submit(train, condition.label, job, home))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
                ended += 1
            print(f"{ended} of {len(todo)} trained", file=sys.stderr, flush=True)


def main() -> None:
    """Train what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--matrix", default="smoke")
    parser.add_argument("--minutes", type=float, default=40)
    for name, default in Sizes()._asdict().items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--results", type=Path, default=ROOT / "results/calibration")
    parser.add_argument("--output", type=Path, default=ROOT / "results/calibration.md")
    asked = parser.parse_args()
    sizes = Sizes(**{name: getattr(asked, name) for name in Sizes._fields})
    matrix = load(asked.matrix, asked.changes, seeds=max(sizes[:-1]))
    jobs: dict[int, list[Job]] = {}
    for job in expand(matrix):
        jobs.setdefault(job.seed, []).append(job)
    known = {one.label: stored(asked.results, one) for one in (CLEAN, ONE_ULP, *FAULTS)}
    todo = [(one, job) for one, job in tasks(jobs, sizes) if job.key not in known[one.label]]
    run(todo, asked.results, seconds=60 * asked.minutes)
    conditions = (CLEAN, ONE_ULP, *FAULTS, UNNORMALISED)
    if not all(folder(asked.results, one).exists() for one in conditions):
        sys.exit("too little is trained for a page; the same command again continues")
    rows = {one.label: store.load(folder(asked.results, one)) for one in conditions}
    asked.output.write_text(page(rows, jobs[0], sizes, command="make calibrate"), encoding="utf-8")
    print(f"wrote {asked.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
