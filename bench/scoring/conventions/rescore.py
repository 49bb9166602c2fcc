"""Scores of the same embeddings by any rules, and which rule changes which score."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score
from torch import Tensor
from torch.nn import functional as F

from bench.scoring.clustering import Clustering, by_faiss, clusterings, kmeans
from bench.scoring.conventions.rules import SENTENCES, Rules
from bench.scoring.evaluation import clustering_metrics, query_values
from bench.scoring.inputs import scale_of
from bench.scoring.ranking import Ranking, blocks, first_hit
from losses.ensembles import Distance

__all__ = ["Cause", "EmbeddedImages", "Scorer", "causes", "scorer"]

SEED = 1234
"""From which faiss clusters unless it is told otherwise."""
SAMPLE = 256
"""Rows per cluster that faiss looks at unless it is told otherwise."""
OLDER = {"nmi": (normalized_mutual_info_score, "geometric"), "ami": (adjusted_mutual_info_score, "max")}
"""What scikit-learn divided by before 0.22."""
Flags = NDArray[np.bool_]


class EmbeddedImages(NamedTuple):
    """What is scored."""

    points: NDArray[np.floating]
    """[Q, dim], float32 or float64: the queries."""
    labels: NDArray[np.int64]
    """[Q]"""
    gallery: NDArray[np.floating] | None = None
    """[N, dim]; None where every query is compared with the other queries."""
    gallery_labels: NDArray[np.int64] | None = None
    """[N]"""
    distance: Distance = "euclidean"
    """By which they are compared where nobody says otherwise."""


def _scaled(images: EmbeddedImages) -> EmbeddedImages:
    """The same, scaled up where all values are tiny, as the harness does: k-means would take them for one point."""
    parts = [part for part in (images.points, images.gallery) if part is not None]
    scale = scale_of(float(np.abs(part).max()) for part in parts)
    if scale == 1:
        return images
    gallery = None if images.gallery is None else images.gallery.astype(np.float64) * scale
    return images._replace(points=images.points.astype(np.float64) * scale, gallery=gallery)


class Cause(NamedTuple):
    """One rule that changes a score."""

    rule: str
    """Field of `Rules`."""
    sentence: str
    effect: float
    """What the score changes by where this rule alone is taken over."""


Scorer = Callable[[Rules], dict[str, float]]


def scorer(images: EmbeddedImages, *, ks: Sequence[int] = (1, 2, 4, 8), restarts: int = 5, seed: int = 0) -> Scorer:
    """A function from rules to scores in [0, 1], nan where one cannot be computed, and counts of queries.

    What rules share is searched and clustered once. `restarts` and `seed` are those of k-means where the rules do not
    set their own; without restarts no rules cluster. Ties are by lower index unless the rules say otherwise.
    """
    scaled = _scaled(images)
    others = images.labels if images.gallery_labels is None else images.gallery_labels
    n_same = (np.bincount(others, minlength=images.labels.max() + 1))[images.labels]
    n_others = n_same - (images.gallery is None)
    depth = min(max(*ks, int(n_same.max())), len(others))

    @cache
    def points(distance: str) -> tuple[Tensor, Tensor | None]:
        given = images if distance == "hyperbolic" else scaled
        kind = given.points.dtype if given.gallery is None else np.result_type(given.points, given.gallery)
        queries, gallery = (_pointed(p, kind, distance) for p in (given.points, given.gallery))
        assert queries is not None
        return queries, gallery

    @cache
    def found(distance: str, search: str) -> tuple[Flags, Flags | None]:
        way: dict[str, Any] = {"single": search == "single", "hyperbolic": distance == "hyperbolic"}
        return _found(points(distance), (images.labels, others), **way, depth=depth)

    @cache
    def clustered(distance: str, how: str) -> list[Clustering]:
        runs = 0 if distance == "hyperbolic" else restarts  # such points have no means
        given = points(distance)[0].float().numpy()
        if how == "restarts":
            return clusterings(given, images.labels, restarts=runs, seed=seed)
        return [Clustering(images.labels, _once(given, images.labels, sampled=how == "sampled"))] if runs else []

    @cache
    def score(rules: Rules) -> dict[str, float]:
        hits = _without_own(*found(rules.distance, rules.search), first=rules.own == "first")
        ranking = _ranking(hits, n_others, rules, ks)
        if rules.ties == "favour":
            ranking = ranking._replace(first_hit=_favoured(*points(rules.distance), images.labels, others))
        clusters = clustered(rules.distance, rules.clusters)
        agreement = {name: _agreement(name, metric, clusters, rules) for name, metric in clustering_metrics().items()}
        lone = n_others == 0
        return _means(query_values(ranking, ks), lone, images.labels, rules) | agreement | _counts(lone, rules)

    return score


def causes(name: str, base: Rules, other: Rules, score: Scorer) -> list[Cause]:
    """Which rules of `other` change the score `name`, each alone put in the place of that of `base`; largest first."""
    start, found = score(base)[name], []
    for place, (rule, value) in enumerate(other._asdict().items()):
        if value != base[place]:
            effect = score(Rules._make((*base[:place], value, *base[place + 1 :])))[name] - start
            if not abs(effect) < 1e-12:
                sentence = SENTENCES[rule, 0 if isinstance(value, int) else value]
                found.append(Cause(rule, sentence, effect))
    return sorted(found, key=lambda cause: -abs(cause.effect))


def _pointed(points: NDArray[np.floating] | None, kind: np.dtype[Any], distance: str) -> Tensor | None:
    if points is None:
        return None
    given = torch.from_numpy(points.astype(kind))
    return F.normalize(given) if distance == "cosine" else given


def _found(
    points: tuple[Tensor, Tensor | None],
    labels: tuple[NDArray[np.int64], NDArray[np.int64]],
    *,
    single: bool,
    depth: int,
    hyperbolic: bool,
) -> tuple[Flags, Flags | None]:
    """Of the nearest candidates [Q, depth], or one more with the query among them: which are of its class, which it."""
    (queries, gallery), (own_labels, others) = points, labels
    pool = queries if gallery is None else gallery
    deep = min(depth + (gallery is None), len(pool))
    same = np.empty((len(queries), deep), dtype=bool)
    own = None if gallery is not None else np.empty_like(same)
    distance: Distance = "hyperbolic" if hyperbolic else "euclidean"
    for rows, found in _single(queries, pool, deep) if single else blocks(queries, pool, depth=deep, distance=distance):
        np.equal(others[found], own_labels[rows, None], out=same[rows])
        if own is not None:
            np.equal(found, np.arange(rows.start, rows.stop)[:, None], out=own[rows])
    return same, own


def _single(queries: Tensor, pool: Tensor, deep: int) -> list[tuple[slice, NDArray[np.int64]]]:
    """As other tools search, in one call: by the number of queries faiss decides how to compute distances."""
    return [(slice(0, len(queries)), faiss.knn(queries.float().numpy(), pool.float().numpy(), deep)[1])]


def _without_own(same: Flags, own: Flags | None, *, first: bool) -> Flags:
    """[Q, depth]: is the candidate at this rank of the query's class, once one is taken out as the query itself?"""
    if own is None:
        return same
    if first:
        return same[:, 1:]
    out = own.copy()
    out[~out.any(1), -1] = True  # where as many duplicates of it came before it
    return same[~out].reshape(len(same), -1)


def _ranking(hits: Flags, n_others: NDArray[np.int64], rules: Rules, ks: Sequence[int]) -> Ranking:
    """What the rules rank: hits [Q, width] as deep as the largest R and K, cut where the rules look no deeper."""
    r = n_others + (rules.r == "class")
    # An R that counts the query itself may reach past the last candidate.
    padded = np.pad(hits, ((0, 0), (0, max(0, int(r.max()) - hits.shape[1]))))
    relevant = padded[:, : rules.depth or max(*ks, int(r.max()))]
    return Ranking(relevant, r, first_hit(relevant), hits.shape[1])


def _favoured(
    queries: Tensor, gallery: Tensor | None, labels: NDArray[np.int64], others: NDArray[np.int64]
) -> NDArray[np.int32]:
    """[Q]: rank, from 1, of the first hit where only candidates of other classes that are strictly nearer go before.

    All pairs are looked at, and not the first of a search, which may end among ties before the hit that they favour.
    """
    assert gallery is not None
    pool, classes = gallery.double(), torch.from_numpy(others)
    square, ranks = pool.square().sum(1), []
    for rows in torch.split(torch.arange(len(queries)), max(1, 2**24 // len(pool))):
        distance = square - 2 * queries[rows].double() @ pool.T
        same = classes == torch.from_numpy(labels)[rows, None]
        nearest = distance.masked_fill(~same, math.inf).amin(1, keepdim=True)
        before = (distance.masked_fill(same, math.inf) < nearest).sum(1)
        ranks.append((1 + before) * same.any(1))
    return torch.cat(ranks).int().numpy()


def _means(
    scores: dict[str, NDArray[np.float64]], lone: Flags, labels: NDArray[np.int64], rules: Rules
) -> dict[str, float]:
    """Over the queries that count; `lone` [Q]: those whose class has no other image."""
    asked = ~lone if rules.lone == "left out" else np.ones_like(lone)
    if not asked.any() or (rules.lone == "fails" and lone.any()):
        return dict.fromkeys(scores, math.nan)
    if rules.mean == "queries":
        return {name: float(each[asked].mean()) for name, each in scores.items()}
    classes, counts = np.unique(labels[asked], return_inverse=True, return_counts=True)[1:]
    return {name: float((np.bincount(classes, each[asked]) / counts).mean()) for name, each in scores.items()}


def _counts(lone: Flags, rules: Rules) -> dict[str, float]:
    return {"queries": float(len(lone)), "queries_left_out": float(lone.sum()) * (rules.lone == "left out")}


def _once(points: NDArray[np.float32], labels: NDArray[np.int64], *, sampled: bool) -> NDArray[np.int64]:
    classes = len(np.unique(labels))
    return by_faiss(points, classes, seed=SEED, most=SAMPLE)[0] if sampled else kmeans(points, classes, seed=SEED)[0]


def _agreement(name: str, metric: Callable[[Clustering], float], clusters: Sequence[Clustering], rules: Rules) -> float:
    """Mean of a metric over clusterings."""
    if not clusters:
        return math.nan
    if rules.entropy == "arithmetic" or name not in OLDER:
        return float(np.mean([metric(one) for one in clusters]))
    older, how = OLDER[name]
    return float(np.mean([older(one.labels, one.assignment, average_method=how) for one in clusters]))
