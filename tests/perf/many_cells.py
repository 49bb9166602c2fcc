"""What commands cost on thousands of hard cells: seconds of the processor, memory, and the size of the page.

    python tests/perf/many_cells.py [cells] [rows]

Cells are hard ones: nearly every row has an objective of its own, with a long label; there are several datasets and
backbones, ensembles, model ensembles, controls, jobs that failed or were skipped, missing scores, logs and queries. No
job is trained: rows are written as jobs leave them, with made-up scores; their controls are a fourth more, so that by
default there are about 10,000. `plan` is measured without a stored row, with every second job done and with all; `run`
with all done. Then other rows are loaded, packed and reported. In the end they are loaded as if their files came from
elsewhere, without the files that make reading them quicker.

Budgets for 5,000 cells: plan 3 s, run 5 s. For 10,000 rows: report 10 s, 500 MB and a page of 5 MB; load 3 s.
"""

import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from support.command_cost import Cost, cost

from bench import store
from bench.analysis.controls import controls
from bench.execute.matrix_run import KEEP_EVERY
from bench.matrix.expand import expand
from bench.matrix.file import load
from bench.matrix.job import Job
from bench.store.queries import Queries
from bench.store.row import MemberEpoch, Provenance, Result, Row
from bench.store.row_cache import KEPT

SET = "{ name = 'glyphs', classes = 12, images_per_class = 8, test_classes = 8, test_images_per_class = 4, size = %d }"
LOAD = "import sys, bench; bench.load(sys.argv[1])"
QUERIES = 32


def matrix_text(cells: int, *, datasets: int = 2, backbones: int = 2, seeds: int = 3) -> str:
    """A matrix (TOML) of about so many cells: three of four objectives are losses, the others are made of them."""
    objectives = max(8, cells // (datasets * backbones * seeds))
    losses = [f"triplet with the margin {n / 10000:.4f} as one of many settings" for n in range(objectives * 3 // 4)]
    entries = [f'{{ name = "triplet", margin = {n / 10000 + 1e-6}, label = "{one}" }}' for n, one in enumerate(losses)]
    groups = [losses[n : n + 3] for n in range(objectives - len(losses))]
    kinds = {
        "ensembles": [_entry(("sum", "slices")[n % 2], group) for n, group in enumerate(groups) if n % 3],
        "model_ensembles": [_entry("concatenate", group) for n, group in enumerate(groups) if n % 3 == 0],
    }
    lists = {
        "datasets": [SET % (28 + 4 * n) for n in range(datasets)],
        "backbones": [f"{{ name = 'conv4', width = {8 * (n + 1)} }}" for n in range(backbones)],
        "losses": entries,
        **kinds,
    }
    lines = [f"{name} = [{', '.join(parts)}]" for name, parts in lists.items()]
    return "\n".join([*lines, f"seeds = {seeds}", "[recipe]", "epochs = 3", "dim = 16", "classes_per_batch = 6", ""])


def _entry(name: str, members: Sequence[str]) -> str:
    return f'{{ name = "{name}", members = {list(members)} }}'


def fill(results: Path, jobs: Sequence[Job], *, shas: dict[str, str], whole: bool = False) -> pd.DataFrame:
    """Store a row of every job, as if it had run, and return them all.

    One of 50 failed and one of 50 was skipped, and the others have queries; or `whole`, all are done, without queries.
    """
    generator, rows = np.random.default_rng(0), []
    for number, job in enumerate(jobs):
        result = made_up(job, number, generator, sha=shas[job.dataset.label], whole=whole)
        store.write(results, result)
        rows.append(result.row.flat())
        if not len(rows) % KEEP_EVERY:
            store.keep(results)
    return pd.DataFrame(rows)


def made_up(job: Job, number: int, generator: np.random.Generator, *, sha: str, whole: bool = False) -> Result:
    """What a job might leave: of 50 one failed, one was skipped; or `whole`, all are done, without queries."""
    provenance = Provenance(commit="0" * 40, python="3.11", torch="2", device="CPU", threads=1, dataset_sha=sha)
    if number % 25 == 24 and not whole:
        status, reason = ("failed", f"ValueError: number {number}") if number % 50 == 24 else ("skipped", "needs texts")
        return Result(Row.of(job, status, reason=reason, provenance=provenance))  # type: ignore[arg-type]
    level = zlib.crc32(job.objective.label.encode()) / 2**32  # so that many of the pairs can be told apart
    recall = float(0.3 + 0.4 * level + 0.01 * generator.standard_normal())
    scores = {f"recall_at_{k}": min(1.0, recall + 0.05 * k) for k in (1, 2, 4, 8)}
    scores |= {"map_at_r": recall / 2, "r_precision": recall / 1.5, "recall_at_1_chance": 0.1}
    scores |= {} if number % 7 == 0 else {"nmi": recall, "nmi_sd": 0.01, "nmi_best": recall, "nmi_chance": 0.2}
    cost = {"seconds": 3.0, "seconds_train": 2.0, "seconds_evaluate": 1.0, "images_per_second": 900.0}
    size = 16 * max(1, len(job.members) if job.objective.name == "concatenate" else 1)
    row = Row.of(job, "done", scores=scores, embedding_dim=size, provenance=provenance, **cost)
    epochs = range(1, 4) if job.kind in ("loss", "ensemble") else ()
    history = tuple({"epoch": e, "loss": 1 / e, "rate": 1e-3, "seconds": 0.5, "model": 0} for e in epochs)
    members = tuple(
        MemberEpoch(e, part.label, 1 / e, 1.0, 0.5)
        for e in (epochs if job.kind == "ensemble" else ())
        for part in job.objective.members
    )
    return Result(row, history, None if whole else _queries(recall, generator), members=members)


def _queries(recall: float, generator: np.random.Generator) -> Queries:
    first = np.where(generator.random(QUERIES) < recall, 1, 3).astype(np.int32)
    near = generator.integers(0, QUERIES, (QUERIES, 10)).astype(np.int32)
    apart = np.sort(generator.random((QUERIES, 10)).astype(np.float32) + 0.1, axis=1)
    return Queries(np.arange(QUERIES) % 8, first, {"map_at_r": generator.random(QUERIES)}, near, apart)


def cells_costs(folder: Path, cells: int) -> Iterator[tuple[str, Cost]]:
    """Of planning and running a matrix of so many cells."""
    from bench.execute.data_check import check

    file = folder / "cells.toml"
    file.write_text(matrix_text(cells), encoding="utf-8")
    asked = load(str(file))
    jobs = expand(asked)
    shas = {label: split.sha for label, split in check(jobs[:1] + jobs[-1:], None).items()}
    shas |= {job.dataset.label: check([job], None)[job.dataset.label].sha for job in _one_each(jobs)}
    bench = ("-m", "bench.cli.start")
    for state, some in (("none", jobs[:0]), ("every second", jobs[::2]), ("all", jobs)):
        results = folder / f"cells, {state}"
        results.mkdir()
        rows = fill(results, some, shas=shas, whole=True)
        if state == "all":
            fill(results, controls(jobs, rows), shas=shas, whole=True)
        for when in ("at first", "again"):
            name = f"plan, {state} done, {when}"
            yield name, cost(*bench, "plan", str(file), "--results", str(results), folder=folder)
    yield "run, all done", cost(*bench, "run", str(file), "--results", str(results), folder=folder)


def rows_costs(folder: Path, rows: int) -> Iterator[tuple[str, Cost]]:
    """Of reading a folder of so many rows, as a report, a table and a packed file."""
    file, results = folder / "rows.toml", folder / "rows"
    file.write_text(matrix_text(rows), encoding="utf-8")
    jobs = expand(load(str(file)))
    results.mkdir()
    shas = {job.dataset.label: str(number) * 64 for number, job in enumerate(_one_each(jobs))}
    fill(results, controls(jobs, fill(results, jobs, shas=shas)), shas=shas)
    count, out = sum(1 for _ in results.iterdir()), folder / "report"
    bench = ("-m", "bench.cli.start")
    for when in ("at first", "again"):
        yield f"load {count:,} rows, {when}", cost("-c", LOAD, str(results), folder=folder)
    yield "pack", cost(*bench, "pack", str(folder / "p.parquet"), "--results", str(results), folder=folder)
    yield "report", cost(*bench, "report", "--results", str(results), "--output", str(out), folder=folder)
    (results / KEPT).unlink()
    yield f"load {count:,} rows from their own files", cost("-c", LOAD, str(results), folder=folder)
    yield f"a page of {(out / 'index.html').stat().st_size / 1e6:.1f} MB", Cost(0, 0)


def _one_each(jobs: Sequence[Job]) -> list[Job]:
    """One job of every dataset."""
    return list({job.dataset.label: job for job in jobs}.values())


def main(cells: int = 5000, rows: int = 8_150) -> None:
    table = Table("command", "seconds", "MB")
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        for costs in (cells_costs(Path(folder), cells), rows_costs(Path(folder), rows)):
            for name, one in costs:
                table.add_row(name, f"{one.processor:.1f}", f"{one.megabytes:.0f}")
                print(f"{time.monotonic() - started:.0f} s: {name} {one}", file=sys.stderr)
    Console().print(table)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
