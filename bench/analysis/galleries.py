"""What the galleries of a board show: which methods are held against each other, and the data the pictures are of.

Nothing is shown that is not proven: the data has the SHA-256 that the rows have stored, and its labels explain the
stored first hits.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench import datasets, store
from bench.analysis.board_lines import FIRST, Line
from bench.analysis.board_verdict import compared
from bench.analysis.boards import Board
from bench.analysis.found_by_one import Confusion, Example, confusions, examples, found_by_one, known, worst
from bench.analysis.older_jobs import with_jobs
from bench.datasets.split import Split
from bench.matrix.catalogue import check, find
from bench.matrix.job import Job, Part
from bench.store.queries import Queries

__all__ = ["CONFUSIONS", "ENSEMBLES", "EXAMPLES", "Direction", "Gallery", "Pair", "Weakness", "galleries"]

EXAMPLES = 6
"""Queries of one list at most."""
ENSEMBLES = 3
"""Ensembles of a board at most, the best first."""
CONFUSIONS = 10
"""Pairs of classes at most."""
LEADERS = "The two leaders"
ENSEMBLE = "An ensemble and its best member"


class Direction(NamedTuple):
    """What one of a pair finds at rank 1, and the other misses."""

    finder: str
    other: str
    total: int
    """All such queries; `shown` are those of them whose neighbours are stored, at most EXAMPLES."""
    shown: tuple[Example, ...]
    """The finder's strip first."""


class Pair(NamedTuple):
    """Two methods of one seed."""

    title: str
    seed: int
    directions: tuple[Direction, Direction]
    stored: int
    """Queries with something to find and stored neighbours."""


class Weakness(NamedTuple):
    """What the leader misses."""

    label: str
    seed: int
    missed: int
    """Queries without a hit at rank 1."""
    shown: tuple[Example, ...]
    confusions: tuple[Confusion, ...]
    """At most CONFUSIONS, counted over the queries whose neighbours are stored."""
    stored: int
    """Queries with something to find and stored neighbours."""


class Gallery(NamedTuple):
    """What is shown of one board, and why something is not."""

    board: tuple[str, str]
    """Labels of dataset and backbone."""
    split: Split | None
    """The data of the pictures; None where it cannot be shown."""
    queries: int
    """With something to find."""
    stored: int
    """Those of them with stored neighbours, in the run with the fewest."""
    pairs: tuple[Pair, ...]
    weakness: Weakness | None
    problems: tuple[str, ...]
    """One sentence for each gallery that is not there."""


class _Unfit(Exception):
    """Why a run cannot be shown."""


class _Run(NamedTuple):
    """What is stored of a job, beside its scores."""

    dataset: Part | None
    """None where the row does not say."""
    sha: str | None


class _Task(NamedTuple):
    """The queries of a split and what is offered to them."""

    classes: NDArray[np.int64]
    offered: NDArray[np.int64]
    findable: NDArray[np.bool_]
    read: Callable[[str], Queries]
    """By the key of a job; raises _Unfit."""


def galleries(found: list[Board], rows: pd.DataFrame, results: Path, data: Path | None) -> Iterator[Gallery]:
    """The gallery of every board that has scores; boards of one dataset share the split that is read from `data`.

    Args:
        found: as `boards` makes them of `rows`.
        rows: as `bench.load` gives them.
        results: folder or packed file of the rows.
        data: data folder with one subfolder per dataset.
    """
    stored = with_jobs(rows)
    runs = {
        str(key): _Run(_part(text), None if pd.isna(sha) else str(sha))
        for key, text, sha in zip(stored["key"], stored["job"], stored["dataset_sha"], strict=True)
    }
    for board in found:
        if lines := compared(board.lines, FIRST):
            yield _gallery(board, lines, runs, results=results, data=data)


def _part(text: object) -> Part | None:
    job = Job.stored(text) if isinstance(text, str) else None
    return job.dataset if job else None


def _gallery(board: Board, lines: list[Line], runs: Mapping[str, _Run], *, results: Path, data: Path | None) -> Gallery:
    name, place = f"{board.dataset}, {board.backbone}", (board.dataset, board.backbone)
    lacking: dict[str, list[str]] = {}
    contests, first = list(_contests(board, lines, lacking)), min(lines[0].ran)
    read = cache(partial(_read, results=results))
    try:
        sides = [lines[0], *(line for _, *pair in contests for line in pair)]
        _one_readable([_key(line, min(line.ran)) for line in sides], read)
        split = _split(runs[_key(lines[0], first)], data)
    except _Unfit as error:
        return Gallery(place, None, 0, 0, (), None, (f"{name}: no gallery, as {error}",))
    task = _task(split, cache(partial(_proven, read=read, split=split, runs=runs)))
    pairs, weakness = [], None
    for title, one, other in contests:
        try:
            pairs.append(_pair(title, one, other, task))
        except _Unfit as error:
            lacking.setdefault(str(error), []).append(f"{one.label} and {other.label}")
    try:
        weakness = _weakness(lines[0], first, task)
    except _Unfit as error:
        lacking.setdefault(str(error), []).append(f"the worst queries of {lines[0].label}")
    if not pairs and not weakness:
        return Gallery(place, None, 0, 0, (), None, (f"{name}: no gallery, as {list(lacking)[-1]}",))
    fewest = min(one.stored for one in (*pairs, weakness) if one)
    said = tuple(f"{name}: no gallery of {'; '.join(what)}, as {why}" for why, what in lacking.items())
    return Gallery(place, split, int(task.findable.sum()), fewest, tuple(pairs), weakness, said)


def _one_readable(keys: list[str], read: Callable[[str], Queries]) -> None:
    """See that the queries of one of these jobs can be read, before the data is, which may take minutes."""
    for place, key in enumerate(keys, start=1):
        try:
            read(key)
        except _Unfit:
            if place == len(keys):
                raise
        else:
            return


def _contests(board: Board, lines: list[Line], lacking: dict[str, list[str]]) -> Iterator[tuple[str, Line, Line]]:
    """Who is held against whom, no two twice; by reason, the ensembles without a best member are among the lacking."""
    met = set()
    if len(lines) > 1:
        met.add(frozenset((lines[0].cell, lines[1].cell)))
        yield LEADERS, lines[0], lines[1]
    for gain in board.gains[:ENSEMBLES]:
        if not gain.best:
            why = gain.why.removeprefix("not stated: ")
            lacking.setdefault(why, []).append(f"{gain.line.label} and its best member")
        elif (pair := frozenset((gain.line.cell, gain.best[0].cell))) not in met:
            met.add(pair)
            yield ENSEMBLE, gain.line, gain.best[0]


def _pair(title: str, one: Line, other: Line, task: _Task) -> Pair:
    common = set(one.ran) & set(other.ran)
    if not common:
        raise _Unfit("no seed was finished by both: run them with the same seeds")
    seed = min(common)
    a, b = (task.read(_key(line, seed)) for line in (one, other))
    both = known(a) & known(b) & task.findable
    return Pair(title, seed, (_direction(one, other, a, b, task), _direction(other, one, b, a, task)), int(both.sum()))


def _direction(one: Line, other: Line, a: Queries, b: Queries, task: _Task) -> Direction:
    count, rows = found_by_one(a, b, task.classes)
    return Direction(one.label, other.label, count, examples(rows[:EXAMPLES], a, b))


def _weakness(line: Line, seed: int, task: _Task) -> Weakness:
    found = task.read(_key(line, seed))
    missed, rows = worst(found, task.classes, task.findable)
    listed = confusions(found, task.classes, task.offered, task.findable)
    stored = int((known(found) & task.findable).sum())
    return Weakness(line.label, seed, missed, examples(rows[:EXAMPLES], found), tuple(listed[:CONFUSIONS]), stored)


def _key(line: Line, seed: int) -> str:
    return str(line.keys[line.ran.index(seed)])


def _split(run: _Run, data: Path | None) -> Split:
    """The data of a run."""
    if run.dataset is None or run.sha is None:
        raise _Unfit("its rows do not say which data they were measured on: run again with this version")
    try:
        check(find("datasets", run.dataset.name), run.dataset.parameters)
        return datasets.load(run.dataset, data)
    except (LookupError, ValueError) as error:  # those of our own are of these kinds
        raise _Unfit(f"its data cannot be read: {_line(error)}") from error


def _task(split: Split, read: Callable[[str], Queries]) -> _Task:
    classes = split.test.labels
    offered = classes if split.gallery is None else split.gallery.labels
    counts = np.bincount(offered, minlength=int(classes.max(initial=0)) + 1)
    return _Task(classes, offered, counts[classes] > (split.gallery is None), read)


def _read(key: str, *, results: Path) -> Queries:
    """The queries of a job, with neighbours."""
    try:
        found = store.read_queries(results, key, only=("neighbours",))
    except FileNotFoundError:
        raise _Unfit("nothing is stored of their queries: pack them with --queries, or run again") from None
    except (OSError, ValueError) as error:  # damaged, or not to be opened
        raise _Unfit(_line(error)) from error
    if not known(found).any():
        raise _Unfit("no neighbours are stored of their queries: run again with this version")
    return found


def _proven(key: str, *, read: Callable[[str], Queries], split: Split, runs: Mapping[str, _Run]) -> Queries:
    """The same, and surely of this split."""
    if runs[key].sha != split.sha:
        raise _Unfit("its data has changed since the rows were stored: name the data of then with --data, or run again")
    found = read(key)
    if not _fits(found, split):
        raise _Unfit(f"the stored queries of {key} are not those of its data: run again")
    return found


def _fits(found: Queries, split: Split) -> bool:
    """Do the labels of the data explain the stored classes, and which queries have their first hit at rank 1?"""
    classes, rows = split.test.labels, np.flatnonzero(known(found))
    offered = classes if split.gallery is None else split.gallery.labels
    if len(found.first_hit) != len(classes) or found.neighbours is None:
        return False
    if found.classes is not None and not np.array_equal(found.classes, classes):
        return False
    near = found.neighbours[rows]
    if near.min() < 0 or near.max() >= len(offered) or (split.gallery is None and (near == rows[:, None]).any()):
        return False
    return bool(((offered[near[:, 0]] == classes[rows]) == (found.first_hit[rows] == 1)).all())


def _line(error: Exception) -> str:
    """What an error says, to be the end of a sentence."""
    return " ".join(str(error).split()).rstrip(".")
