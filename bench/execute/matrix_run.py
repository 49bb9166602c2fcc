"""The matrix is run by a function: a generator of events, for a command, a notebook or a test."""

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Unpack
from warnings import warn

import pandas as pd

from bench import store
from bench.analysis.controls import controls
from bench.analysis.stopping import Until, checked
from bench.datasets.split import Split, are_vectors, remarks
from bench.execute.cells_to_run import Share, share
from bench.execute.conditions import Conditions
from bench.execute.data_check import check, check_same_data
from bench.execute.dependencies import Queue, StoredJobs
from bench.execute.devices import lacks_bfloat16
from bench.execute.event import ENDINGS, Event
from bench.execute.plan import forecast
from bench.execute.run_options import EXECUTORS, MatrixOptions, RunOptions, Way, apart
from bench.execute.seeds_by_look import ByLook, by_look, stages
from bench.execute.shared_runs import Turns
from bench.matrix.expand import expand
from bench.matrix.file import Matrix
from bench.matrix.job import TRAINED, ConfigError, Job
from bench.matrix.plugins import unused
from bench.matrix.plugins_in_use import named

__all__ = ["Asked", "run", "run_jobs"]

KEEP_EVERY = 500
"""Jobs that end between two times that rows are kept: whoever reads them after a kill need not read all anew."""


class Asked(NamedTuple):
    """Jobs to run."""

    jobs: Sequence[Job]
    """Of expanded matrices."""
    controls: bool = False
    """Whether controls of ensembles are chosen."""
    boards: Sequence[Sequence[Job]] = ()
    """Of each board the jobs that the rule may ask for."""
    rule: Until | None = None
    """What adds seeds look by look."""


def run(
    matrix: Matrix | str | Path,
    *,
    results: str | Path = "results/runs",
    seeds: int | None = None,
    until: Until | str | None = None,
    **options: Unpack[RunOptions],
) -> Generator[Event, None, None]:
    """Run the cells of a matrix that have no result yet, and tell how it goes; run it again to resume.

    Nothing happens before the first event is asked for, and closing the generator ends all work at once: finished jobs
    are kept. A model ensemble starts when its members have ended. An ensemble's controls start when it and the jobs
    that its members are chosen by have ended. What is left out of the data, or is doubtful in it, is a warning. So is a
    row, or a file beside it, that is damaged: its folder is set aside, and its job runs. So is a job that is done,
    whose embeddings someone has deleted and a model ensemble needs: it is trained again.

    Several runs may share a folder of results, on several machines too: each job is trained by one of them, and all
    see all of it end. What a run leaves behind that was killed is taken over within two minutes.

    Args:
        matrix: a matrix, the name of one that comes with the project, or the path of a file.
        results: folder of results, or an address of fsspec such as s3://bucket/prefix, which one run at a time may
            write to.
        seeds: run the seeds 0 to this number - 1 instead of the matrix's own.
        until: "leaders" or "order", or an `Until` with more choices: instead of the matrix's seeds, add seeds look by
            look until it is decided which methods lead, or their order. Every look gives an event `decided`. Floors and
            untrained lines keep the matrix's seeds. Controls are chosen in the end, from what ran.
        options: how the matrix is read, and where and how it is run.
            changes: of single values of the matrix, such as "recipe.epochs=3".
            skip_broken: leave out images that cannot be read.
            plugins: Python files whose losses, ensembles and so on the matrix may name; they are run as the user. They
                stay in use in this process until the next call names others, or none.
            data: folder with one subfolder per dataset.
            device: auto, cpu or cuda.
            workers: jobs at a time; by default one per GPU, or as many as the cores feed.
            threads: of each worker. Results are bit-identical at equal numbers of threads.
            executor: what runs the jobs: local, or ray for the nodes of a Ray cluster.
            address: of the cluster, HOST:PORT; auto (default): this machine's; local: one is started for this run.
            cpus_per_job: of a node, which a job holds; by default one for each thread.
            gpus_per_job: of a GPU, 0.25 for four jobs on each, which may take a quarter of its memory each; by default
                1, if there are any.
            any_versions: nodes may have other versions of torch, faiss and so on, which may give other bits.
            checkpoint_every: minutes of work that a kill may cost; 0 for no checkpoints.
            time_limit: minutes that a job may take, earlier attempts included; one that takes longer has failed.
            memory_limit: GB that a job may hold, of the GPU's memory or of its process's; one that holds more has
                failed.
            retry: failed or skipped: run only the cells that ended so, and model ensembles of them; none: only cells
                without a row. By default all of these are run.
            max_failures: start no more jobs after so many have failed.
            shard: such as 3/16: run only the third of sixteen shares of the cells. Model ensembles and controls are
                run by the shard that has time when their members have ended.
            stop: once its `ask` is called, from another thread say, running jobs stop at their next step.

    Raises:
        ConfigError: the request is wrong: an unknown name or value, unfit data, or what cannot be built.
        OtherDataError: the data has changed since the run began, or a node has other data; finished jobs are kept.
        StoreError: results cannot be written, their folder has gone, or the disk is too small for the embeddings; or
            another run writes to the address.
        Stopped: `stop` was asked for, and nothing runs any more; the same call continues.
    """
    read_by, way = apart(options)
    return run_jobs(partial(_asked, matrix, read_by, seeds=seeds, until=until), Way(Path(results), **way))


def _asked(
    matrix: Matrix | str | Path, read_by: MatrixOptions, *, seeds: int | None, until: Until | str | None
) -> Asked:
    """What a matrix asks for."""
    rule = None if until is None else checked(until)
    if rule and seeds is not None:
        raise ConfigError("--seeds and --until exclude each other: a rule adds the seeds; --max-seeds bounds them")
    asked = read_by.load(matrix, seeds=seeds)
    jobs, boards = by_look(asked, rule) if rule else ByLook(expand(asked), ())
    return Asked(jobs, controls=asked.controls, boards=boards, rule=rule)


def run_jobs(ask: Callable[[], Asked], way: Way) -> Generator[Event, None, None]:
    """Run the jobs that have no result yet, as `run` does.

    Args:
        ask: says which jobs, when the first event is asked for.
        way: where and how.
    """
    limits, where = way.checked_limits(), way.places()
    asked = ask()
    own = share(way.retry, way.shard, by_rule=asked.rule is not None)
    everything = [*asked.jobs, *(job for board in asked.boards for job in board)]
    splits = _looked_at(everything, way)
    results, ended = store.mirrored(way.results, fetch=False), 0
    with store.driving(results):
        queue = _queue(asked, _stored(everything, splits, results, choose=asked.controls), results, own)
        with closing(Turns(queue, results, most=way.max_failures)) as turns:
            yield from turns.seen(queue.plan())
            yield from turns.seen(turns.others())
            if waiting := list(queue.waiting.values()):
                yield from _before(waiting, where, splits, results)
                shas = {label: split.sha for label, split in splits.items()}
                data = None if way.data is None else Path(way.data)
                conditions = Conditions(results, data, where, way.threads, limits, way.stop, shas)
                with closing(EXECUTORS[way.executor](turns.take, waiting, conditions)) as events:
                    for event in events:
                        turns.see(event)
                        yield event
                        if event.kind in ENDINGS:
                            ended += 1
                            yield from turns.seen(queue.end(event.job))
                            if not ended % KEEP_EVERY:
                                store.keep(results)
    if left := queue.left_to_others():
        warn(left, stacklevel=2)


def _looked_at(jobs: Sequence[Job], way: Way) -> Mapping[str, Split]:
    """The data of the jobs, by dataset, once it is said what of it, and of the plugins, may not be meant."""
    splits = check(jobs, None if way.data is None else Path(way.data))
    doubtful = [f"{label}: {remark}" for label, split in splits.items() for remark in remarks(split)]
    for sentence in (*unused(named(), jobs), *doubtful):
        warn(sentence, stacklevel=3)
    return splits


def _queue(asked: Asked, stored: pd.DataFrame, results: Path, own: Share) -> Queue:
    """The jobs, in the order in which they may start."""
    looks = []
    if asked.rule:
        score = partial(_score, _scores(stored, asked.rule.metric), results, asked.rule.metric)
        looks = [stages(board, asked.rule, score) for board in asked.boards]
    known = StoredJobs(stored, partial(_row, results), partial(store.has_embeddings, results))
    return Queue(asked.jobs, known, choose=asked.controls, looks=looks, share=own)


def _before(jobs: Sequence[Job], where: Any, splits: Mapping[str, Split], results: Path) -> Iterator[Event]:
    """What is looked at once before any of the jobs runs."""
    _warn_if_slow(jobs, where)
    trained = [job for job in jobs if job.kind in TRAINED]
    store.check_room(results, forecast(trained, splits, store.empty()).bytes)
    yield from _compare(jobs, splits)


def _warn_if_slow(jobs: Sequence[Job], where: Any) -> None:
    """Say what makes these jobs take much longer here than they need."""
    asked = any(job.recipe.precision == "bfloat16" for job in jobs if job.kind in TRAINED)
    if asked and isinstance(where, list) and "cpu" in where and lacks_bfloat16():
        sentence = "precision = bfloat16: this processor has no instructions for it, and may take ten times as long"
        warn(f'{sentence}; set precision = "float32"', stacklevel=3)


def _stored(jobs: Sequence[Job], splits: Mapping[str, Split], results: Path, *, choose: bool) -> pd.DataFrame:
    """The rows that there are, of the data that is there now, in a folder that can be written.

    A job of which something is damaged is set aside, and so is a control if any is to be chosen.
    """
    store.prepare(results)
    rows, sentences = store.set_aside(results)
    for sentence in sentences:
        warn(sentence, stacklevel=3)
    check_same_data(jobs, splits, rows)
    ended = rows[rows["status"].isin(("done", "diverged"))]
    held_against = controls(jobs, rows) if choose and "control" in set(ended["kind"]) else ()
    again = store.set_aside_beside(results, {job.key for job in (*jobs, *held_against)} & set(ended["key"]))
    for sentence in again.sentences:
        warn(sentence, stacklevel=3)
    return rows[~rows["key"].isin(again.keys)]


def _compare(jobs: Sequence[Job], splits: Mapping[str, Split]) -> Iterator[Event]:
    """Find near-duplicates in every dataset once, before every worker asks; of large ones this takes minutes."""
    for label, job in {job.dataset.label: job for job in jobs}.items():
        if are_vectors(splits[label]) or splits[label].train.images.shape[-1] == 1:
            continue
        from bench.datasets.contamination.near_duplicates import near_duplicates

        yield Event("comparing", job)
        near_duplicates(splits[label])


def _row(results: Path, key: str) -> pd.DataFrame:
    """What is stored of one job."""
    return store.load(results / key / "row.parquet")


def _score(known: dict[str, float], results: Path, metric: str, key: str) -> float:
    """What a job that has ended scores, NaN where it has no score; those `known` are not read again."""
    if key not in known:
        known |= _scores(_row(results, key), metric)
    return known.get(key, math.nan)


def _scores(rows: pd.DataFrame, metric: str) -> dict[str, float]:
    """Key -> score of the rows that have one."""
    done = rows[rows["status"] == "done"]
    found = zip(done["key"], done[metric].astype(float), strict=True) if metric in done else ()
    return {key: score for key, score in found if not math.isnan(score)}
