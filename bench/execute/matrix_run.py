"""The matrix is run by a function: a generator of events, for a command, a notebook or a test."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from warnings import warn

import pandas as pd

from bench import store
from bench.datasets.split import Split, remarks
from bench.execute.dependencies import Queue
from bench.execute.devices import places
from bench.execute.event import ENDINGS, Event
from bench.execute.plan import check, check_same_data
from bench.execute.pool import execute
from bench.matrix import file
from bench.matrix.catalogue import did_you_mean
from bench.matrix.expand import expand
from bench.matrix.file import Matrix
from bench.matrix.job import ConfigError, Job

__all__ = ["run"]

EXECUTORS = {"local": execute}


def run(
    matrix: Matrix | str | Path,
    *,
    results: str | Path = "results/runs",
    data: str | Path | None = None,
    device: str = "auto",
    workers: int | None = None,
    threads: int = 1,
    executor: str = "local",
    seeds: int | None = None,
    changes: Sequence[str] = (),
    skip_broken: bool = False,
) -> Generator[Event, None, None]:
    """Run the cells of a matrix that have no result yet, and tell how it goes; run it again to resume.

    Nothing happens before the first event is asked for, and closing the generator ends all work at once: finished jobs
    are kept. A model ensemble starts when its members have ended. An ensemble's controls start when it and the jobs
    that its members are chosen by have ended. What is left out of the data, or is doubtful in it, is a warning. So is a
    row that cannot be read: it is set aside, and its job runs.

    Args:
        matrix: a matrix, the name of one that comes with the project, or the path of a file.
        results: folder of results.
        data: folder with one subfolder per dataset.
        device: auto, cpu or cuda.
        workers: jobs at a time; by default one per GPU, or as many as the cores feed.
        threads: of each worker. Results are bit-identical at equal numbers of threads.
        executor: what runs the jobs; local.
        seeds: run the seeds 0 to this number - 1 instead of the matrix's own.
        changes: of single values of the matrix, such as "recipe.epochs=3".
        skip_broken: leave out images that cannot be read.

    Raises:
        ConfigError: the request is wrong: an unknown name or value, unfit data, or what cannot be built.
        StoreError: results cannot be written.
    """
    if executor not in EXECUTORS:
        raise ConfigError(f"there is no executor {executor!r}{did_you_mean(executor, EXECUTORS)}")
    results, data = Path(results), None if data is None else Path(data)
    asked = file.load(matrix, changes, seeds=seeds, skip_broken=skip_broken)
    jobs = expand(asked)
    where = places(device, workers, threads=threads)
    splits = check(jobs, data)
    for label, remark in ((label, remark) for label, split in splits.items() for remark in remarks(split)):
        warn(f"{label}: {remark}", stacklevel=2)
    queue = Queue(jobs, _stored(jobs, splits, results), partial(_row, results), choose=asked.controls)
    yield from queue.plan()
    if not queue.waiting:
        return
    waiting = list(queue.waiting.values())
    yield from _compare(waiting, splits)
    events = EXECUTORS[executor](queue.take, waiting, results=results, data=data, places=where, threads=threads)
    with closing(events):
        for event in events:
            yield event
            if event.kind in ENDINGS:
                yield from queue.end(event.job)


def _stored(jobs: Sequence[Job], splits: Mapping[str, Split], results: Path) -> pd.DataFrame:
    """The rows that there are, of the data that is there now, in a folder that can be written."""
    store.prepare(results)
    for sentence in store.set_aside(results):
        warn(sentence, stacklevel=3)
    rows = store.load(results)
    check_same_data(jobs, splits, rows)
    return rows


def _compare(jobs: Sequence[Job], splits: Mapping[str, Split]) -> Iterator[Event]:
    """Find near-duplicates in every dataset once, before every worker asks; of large ones this takes minutes."""
    photos = {job.dataset.label: job for job in jobs if splits[job.dataset.label].train.images.shape[-1] > 1}
    for label, job in photos.items():
        from bench.datasets.contamination.near_duplicates import near_duplicates

        yield Event("comparing", job)
        near_duplicates(splits[label])


def _row(results: Path, key: str) -> pd.DataFrame:
    """What is stored of one job."""
    return store.load(results / key / "row.parquet")
