"""Who complements whom: which trained objectives find what others miss, judged by their stored test embeddings.

Nothing is trained. Committees are chosen on one half of the test classes and judged on the other, never on the same.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench import store
from bench.analysis.common_seeds import Keys, common_seeds, members_with, missing
from bench.datasets.split import Split
from bench.matrix.job import TRAINED, ConfigError, Job
from bench.stats.intervals import half_width

__all__ = ["Committee", "Study", "study"]

Floats = NDArray[np.float64]
Vectors = Sequence[NDArray[np.float32]]
OTHER = "{}: stored results are of other data; name another folder with --results"
BLOCK = 2**23  # similarities held at a time, 32 MiB of them


class Committee(NamedTuple):
    """Members added one by one; both halves of the classes choose once and judge the other's choice once."""

    chosen: NDArray[np.int64]
    """[seeds, 2, size]: the member added at each step, an index of `Study.labels`; the first is the best single one."""
    seen: Floats
    """[seeds, 2, size]: Recall@1 on the half that the members were chosen on; too good by the choice."""
    unseen: Floats
    """[seeds, 2, size]: Recall@1 of the same members on the other half."""


class Study(NamedTuple):
    """One dataset and backbone. Shares and Recall@1 are in [0, 1]; m members in the order of the matrix."""

    dataset: str
    backbone: str
    labels: tuple[str, ...]
    seeds: tuple[int, ...]
    """Those that every member finished; means are over them."""
    queries: int
    """With something to find; `recall` and the overlaps are over all of them."""
    judged: int
    """How many of these the fusion gains and the committees are computed on: drawn at random class by class."""
    recall: Floats
    """[seeds, m]: Recall@1 of every member, from its stored ranks."""
    both: Floats
    """[m, m]: share of queries that row and column find at rank 1."""
    only: Floats
    """[m, m]: share that the row finds and the column misses."""
    neither: Floats
    """[m, m]: share that both miss."""
    together: Floats
    """[m, m]: Recall@1 of the mean of both cosine similarities; on the diagonal that of the member, as stored."""
    gain: Floats
    """[m, m]: the same minus Recall@1 of the better of the two, which every seed picks anew; diagonal 0."""
    gain_half_width: Floats
    """[m, m]: of the 95 % Student interval of the gain over seeds; NaN for one seed."""
    committee: Committee
    missing: tuple[str, ...]
    """What was left out and why, one sentence per objective."""


class _Task(NamedTuple):
    """Queries and their candidates as rows of the stored embeddings, ascending, and the labels of all these rows."""

    queries: NDArray[np.int64]
    candidates: NDArray[np.int64]
    labels: NDArray[np.int64]


def study(
    jobs: Sequence[Job], splits: Mapping[str, Split], results: Path, *, size: int = 4, most: int | None = 2000
) -> list[Study]:
    """Compare the trained objectives of every dataset and backbone; model ensembles and controls are left out.

    Args:
        jobs: of an expanded matrix.
        splits: by dataset label, as `bench.plan.check` returns them.
        results: where embeddings and first hits are stored.
        size: members of a committee, or all where there are fewer.
        most: queries that fusion is judged on, drawn at random class by class; None takes all.

    Raises:
        ConfigError: fewer than two objectives have finished, results of other data, or too few test classes.
    """
    if size < 1 or (most is not None and most < 2):
        raise ConfigError(f"size is {size} and most is {most}; take a size from 1 up and at least 2 queries")
    boards: dict[tuple[str, str], Keys] = {}
    others: dict[tuple[str, str], dict[str, None]] = {}
    for job in jobs:
        if job.kind in TRAINED and not job.control:
            place = job.dataset.label, job.backbone.label
            members = boards.setdefault(place, {})
            distance = _distance(results, job.key)
            if distance not in (None, "euclidean"):
                sentence = f"{job.objective.label} is compared by {distance} distance, not by cosine; left out."
                others.setdefault(place, {})[sentence] = None
                continue
            members.setdefault(job.objective.label, {})[job.seed] = job.key if distance else None
    few = [
        ", ".join(place) for place, members in boards.items() if len(members_with(members, common_seeds(members))) < 2
    ]
    if few or not boards:
        advice = "fewer than two objectives have stored results for one seed; run the matrix first, or leave it out"
        raise ConfigError("\n".join(f"{place}: {advice}" for place in few) or "the matrix trains nothing; add losses")
    studies = [_study(place, boards[place], splits[place[0]], results, size=size, most=most) for place in boards]
    return [one._replace(missing=(*one.missing, *others.get((one.dataset, one.backbone), ()))) for one in studies]


def _distance(results: Path, key: str) -> str | None:
    """By which the embeddings of a job are compared; None where they, or what says so, cannot be used."""
    if not store.usable(results / key, "queries.parquet", "embeddings.npy"):
        return None
    try:
        return store.distance(results, key)
    except ConfigError:  # of a row that is damaged, which whoever reads the rows has said
        return None


def _study(place: tuple[str, str], members: Keys, split: Split, results: Path, *, size: int, most: int | None) -> Study:
    seeds = common_seeds(members)
    labels = members_with(members, seeds)
    keys = [[str(members[label][seed]) for label in labels] for seed in seeds]
    whole = _task(split)
    judged = whole._replace(queries=_drawn(whole, most))
    halves = _halves(judged)
    if not all(len(half.queries) for half in halves):
        raise ConfigError(f"{place[0]}: two halves of the test classes need two classes with something to find")
    fused = [_fuse(_vectors(results, row, len(whole.labels)), judged, halves, min(size, len(labels))) for row in keys]
    hits = np.array([[_first_hits(results, key, len(split.test.labels)) for key in row] for row in keys]) == 1
    alone = hits[:, :, judged.queries].mean(2)
    better = np.maximum(alone[:, :, None], alone[:, None])
    pairs = np.where(np.eye(len(labels)), better, [recall for recall, _ in fused])
    spread = np.std(pairs - better, axis=0, ddof=1) if len(seeds) > 1 else np.full(better.shape[1:], np.nan)
    found = hits[:, :, whole.queries].astype(np.float32)
    return Study(
        *place,
        tuple(labels),
        seeds,
        queries=len(whole.queries),
        judged=len(judged.queries),
        recall=found.mean(2, dtype=np.float64),
        both=_share(found, found),
        only=_share(found, 1 - found),
        neither=_share(1 - found, 1 - found),
        together=pairs.mean(0),
        gain=(pairs - better).mean(0),
        gain_half_width=half_width(spread, len(seeds)),
        committee=Committee(*(np.stack(part) for part in zip(*(committee for _, committee in fused), strict=True))),
        missing=tuple(missing(members, labels)),
    )


def _task(split: Split) -> _Task:
    """All test queries that have something to find, and all candidates."""
    test = split.test.labels
    labels = test if split.gallery is None else np.concatenate([test, split.gallery.labels])
    candidates = np.arange(0 if split.gallery is None else len(test), len(labels))
    offered = np.bincount(labels[candidates], minlength=labels.max() + 1)[test]
    return _Task(np.flatnonzero(offered > (split.gallery is None)), candidates, labels)


def _drawn(task: _Task, most: int | None) -> NDArray[np.int64]:
    """At most `most` of the queries, ascending, from every class its share of them, the same ones every time."""
    if most is None or len(task.queries) <= most:
        return task.queries
    random = np.random.default_rng(0)
    mixed = random.permutation(task.queries)
    by_class = mixed[np.argsort(task.labels[mixed], kind="stable")]
    return np.sort(by_class[((np.arange(most) + random.random()) * len(by_class) / most).astype(np.int64)])


def _halves(task: _Task) -> tuple[_Task, _Task]:
    """Two halves that share no class, the same ones every time; classes with queries are dealt out first."""
    mixed = np.random.default_rng(1).permutation(np.unique(task.labels))
    dealt = mixed[np.argsort(~np.isin(mixed, task.labels[task.queries]), kind="stable")]

    def half(classes: NDArray[np.int64]) -> _Task:
        mine = np.isin(task.labels, classes)
        return _Task(task.queries[mine[task.queries]], task.candidates[mine[task.candidates]], task.labels)

    return half(dealt[::2]), half(dealt[1::2])


def _first_hits(results: Path, key: str, count: int) -> NDArray[np.int32]:
    found = store.read_queries(results, key).first_hit
    if len(found) != count:
        raise ConfigError(OTHER.format(key))
    return found


def _vectors(results: Path, keys: Sequence[str], rows: int) -> Vectors:
    """Of every member [rows, dim], of norm 1 and then moved to the origin.

    An offset that all embeddings share would cost single precision its digits; distances do not change with it.
    """
    found = []
    for key in keys:
        stored = store.embeddings(results, key).astype(np.float64)
        if stored.ndim != 2 or len(stored) != rows:
            raise ConfigError(OTHER.format(key))
        stored /= np.maximum(np.linalg.norm(stored, axis=1, keepdims=True), np.finfo(np.float64).tiny)
        found.append((stored - stored.mean(0)).astype(np.float32))
    return found


def _share(one: NDArray[np.float32], other: NDArray[np.float32]) -> Floats:
    """[m, m]: share of queries that are 1 in both, mean over seeds, from [seeds, m, Q] each."""
    # Single precision counts exactly up to 2**24.
    return np.asarray((one @ other.transpose(0, 2, 1)).mean(0, dtype=np.float64) / one.shape[2])


def _fuse(vectors: Vectors, judged: _Task, halves: Sequence[_Task], size: int) -> tuple[Floats, Committee]:
    """Of one seed: Recall@1 of every pair [m, m], 0 on the diagonal, and a committee chosen on each half [2, size].

    Every seed chooses on its own embeddings, as one would who trained each objective once: seeds stay independent
    repetitions of choosing and judging, which their interval then covers.
    """
    pairs = np.triu(_recall(vectors, judged, _nearest_of_pairs), 1)
    chosen = [_greedy(vectors, half, size) for half in halves]
    unseen = [
        _recall([vectors[member] for member in members], other, _nearest_so_far)
        for (members, _), other in zip(chosen, halves[::-1], strict=True)
    ]
    members, seen = (np.array(part) for part in zip(*chosen, strict=True))
    return pairs + pairs.T, Committee(members, seen, np.array(unseen))


def _greedy(vectors: Vectors, task: _Task, size: int) -> tuple[list[int], list[float]]:
    """Members in the order they are added, each the one that helps Recall@1 most; of equals, the first."""
    members: list[int] = []
    scores: list[float] = []
    while len(members) < size:
        recall = _recall(vectors, task, partial(_nearest_with, chosen=tuple(members)))
        recall[members] = -1
        members.append(int(recall.argmax()))
        scores.append(float(recall.max()))
    return members, scores


Nearest = Callable[[NDArray[np.float32]], NDArray[np.int64]]
"""From similarities [m, block, N] to the nearest candidate of every query by several fusions, [block, ...]."""


def _nearest_of_pairs(sims: NDArray[np.float32]) -> NDArray[np.int64]:
    """[block, m, m], above the diagonal."""
    members, block, candidates = sims.shape
    found = np.zeros((block, members, members), dtype=np.int64)
    sums = np.empty((members, candidates), dtype=np.float32)
    # Query by query, so that the sums of a member with all later ones stay in the processor's cache.
    for query in range(block):
        for one in range(members - 1):
            np.add(sims[one + 1 :, query], sims[one, query], out=sums[one + 1 :])
            found[query, one, one + 1 :] = sums[one + 1 :].argmax(1)
    return found


def _nearest_with(sims: NDArray[np.float32], chosen: Sequence[int]) -> NDArray[np.int64]:
    """[block, m]: of those chosen together with each member."""
    together = sims[list(chosen)].sum(0)
    return np.stack([(together + one).argmax(1) for one in sims], axis=1)


def _nearest_so_far(sims: NDArray[np.float32]) -> NDArray[np.int64]:
    """[block, m]: of the first member, the first two, and so on."""
    return np.asarray(np.cumsum(sims, axis=0).argmax(2).T)


def _recall(vectors: Vectors, task: _Task, nearest: Nearest) -> Floats:
    """Recall@1 of each of the fusions of `nearest`, from the embeddings of m members.

    Similarities of each member are computed once for all fusions that it is part of, which a search of its own per
    fusion cannot do: the 66 pairs of 12 members, 2,000 queries among 3,000 images, 128 wide, take 0.8 s of one core
    here, 3.0 s by one search in single precision per pair, and 8 s by the exact one of bench.scoring.
    """
    queries = [member[task.queries] for member in vectors]
    # Turned once, since multiplying by a turned view takes a third longer.
    candidates = [np.ascontiguousarray(member[task.candidates].T) for member in vectors]
    lengths = [np.square(member).sum(0) for member in candidates]
    place = np.searchsorted(task.candidates, task.queries).clip(max=len(task.candidates) - 1)
    itself = task.candidates[place] == task.queries
    step = max(1, BLOCK // (len(vectors) * len(task.candidates)))
    hits: Floats | float = 0.0
    for start in range(0, len(task.queries), step):
        rows = slice(start, start + step)
        sims = np.empty((len(vectors), len(place[rows]), len(task.candidates)), dtype=np.float32)
        for one, asked, offered, length in zip(sims, queries, candidates, lengths, strict=True):
            # Half the squared distance, negative and less what is the same for all candidates of a query.
            np.subtract(np.matmul(asked[rows], offered, out=one), length / 2, out=one)
        sims[:, np.flatnonzero(itself[rows]), place[rows][itself[rows]]] = -np.inf
        hits = hits + (task.labels[task.queries[rows]] == task.labels[task.candidates[nearest(sims)]].T).sum(-1).T
    return np.asarray(hits / len(task.queries))
