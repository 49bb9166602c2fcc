"""From test embeddings, or an order, to every score: neighbours once, clusters once per restart, then each metric."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from bench.matrix.catalogue import entries
from bench.scoring import metrics
from bench.scoring.clustering import Clustering, clusterings
from bench.scoring.inputs import Given, check_ks, check_whole, checked, checked_order, numbered
from bench.scoring.plugin_metric import of_plugin
from bench.scoring.ranking import Nearest, Ranking, rank, rank_order
from bench.store.queries import Queries
from losses.ensembles import Distance

__all__ = ["Evaluation", "clustering_metrics", "evaluate", "query_values", "score", "score_order"]


class Evaluation(NamedTuple):
    """What is known of a model once its test embeddings are compared."""

    scores: dict[str, float]
    """As returned by `evaluate`."""
    queries: Queries
    """The same per query; its class is the label where that is a number, else its place among the sorted labels."""


def evaluate(  # noqa: PLR0913 - named as the options of `bench evaluate`
    embeddings: Tensor | ArrayLike,
    labels: Tensor | ArrayLike,
    *,
    gallery: Tensor | ArrayLike | None = None,
    gallery_labels: Tensor | ArrayLike | None = None,
    ks: Sequence[int] = (1, 2, 4, 8),
    restarts: int = 5,
    seed: int = 0,
    distance: Distance = "euclidean",
) -> dict[str, float]:
    """Every metric of embeddings [Q, dim] with labels [Q], as a dict from column to score.

    Each row is a query; its candidates are the gallery [N, dim], or without one all other rows. Compared by Euclidean
    distance as given: normalise first for cosine. With the `distance` "hyperbolic" the rows are points of the Poincaré
    ball of radius 1; there are no means of such points for k-means, so NMI and AMI are nan. A query with nothing to
    find is left out of every ranking mean and counted (queries_without_hit). k-means runs over the queries alone,
    `restarts` times: NAME is the mean, NAME_sd the standard deviation (n - 1) and NAME_best the value at the lowest
    inertia. recall_at_1_chance is what a random order would score, nmi_chance what the clusters of lowest inertia score
    with their rows dealt out at random (`seed`); AMI is 0 there. nan: the score cannot be computed (no query has
    anything to find; fewer than two classes; no restart, or for sd fewer than two). Searched and clustered on the
    device that the embeddings are on; beyond these memory is that of a chunk, of [Q, largest K or R] flags, and of
    copies of the embeddings. Raises ValueError, in one sentence, for inputs that do not fit together or are not finite;
    warns where every query has its own vector in the gallery.
    """
    given = {"gallery": gallery, "gallery_labels": gallery_labels}
    found = score(embeddings, labels, **given, ks=ks, restarts=restarts, seed=seed, distance=distance)
    distances = found.queries.distances
    if gallery is not None and distances is not None and not distances[:, 0].any():
        advice = "if it holds the queries themselves, leave it out, and no query is its own neighbour"
        warnings.warn(f"all {len(distances):,} queries have an equal vector in the gallery: {advice}", stacklevel=2)
    return found.scores


def score(  # noqa: PLR0913
    embeddings: Tensor | ArrayLike,
    labels: Tensor | ArrayLike,
    *,
    gallery: Tensor | ArrayLike | None = None,
    gallery_labels: Tensor | ArrayLike | None = None,
    ks: Sequence[int] = (1, 2, 4, 8),
    restarts: int = 5,
    seed: int = 0,
    distance: Distance = "euclidean",
) -> Evaluation:
    """`evaluate`, and beside the scores what they are of every query, for paired tests and galleries."""
    check_ks(ks)
    check_whole("restarts", restarts)
    check_whole("seed", seed)
    given = checked(embeddings, labels, gallery, gallery_labels, distance=distance)
    classes, pool_classes = numbered(given.labels, given.gallery_labels)
    pool: dict[str, Any] = {"gallery": given.gallery, "gallery_labels": pool_classes}
    ranking = rank(given.points, classes, **pool, depth=max(ks), distance=distance)
    clusters = _clusters(given, classes, restarts=restarts, seed=seed) if distance == "euclidean" else []
    return _evaluation(_unscaled(ranking, given), clusters, ks, _stored_classes(given.labels, classes), seed=seed)


def score_order(
    order: Tensor | ArrayLike,
    labels: Tensor | ArrayLike,
    *,
    gallery_labels: Tensor | ArrayLike | None = None,
    ks: Sequence[int] = (1, 2, 4, 8),
) -> Evaluation:
    """`score` of an order of candidates [Q, depth] instead of embeddings, for queries with labels [Q].

    Each row holds indices into the gallery with labels [N], or without one into the other queries, nearest first. The
    columns are those of `score`; NMI and AMI, their _sd, _best and chance, are nan, as there is nothing to cluster.
    Raises ValueError, in one sentence, for what is no such order, and for one that ends before the largest R or K and
    leaves candidates out.
    """
    check_ks(ks)
    found, names, pool_names = checked_order(order, labels, gallery_labels)
    numbers, pool_numbers = numbered(names, pool_names)
    ranking = rank_order(found, numbers, gallery_labels=pool_numbers, depth=max(ks))
    return _evaluation(ranking, [], ks, _stored_classes(names, numbers), seed=0)


def query_values(ranking: Ranking, ks: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    """Every ranking metric of every query [Q], by column: NAME, or NAME_K where it takes a K."""
    values: dict[str, NDArray[np.float64]] = {}
    for name, metric in _metrics_of("ranking").items():
        if "k" in entries("metrics")[name].positional:
            values |= {f"{name}_{k}": metric(ranking, k) for k in ks}
        else:
            values[name] = metric(ranking)
    return values


def clustering_metrics() -> dict[str, Callable[[Clustering], float]]:
    """Every metric of a clustering, by column."""
    return _metrics_of("clustering")


def _metrics_of(first: str) -> dict[str, Callable[..., Any]]:
    """The metrics of a `ranking` or of a `clustering`, in the order of their file; plugins come last."""
    found = {name: each for name, each in entries("metrics").items() if each.positional[0] == first}
    return {name: of_plugin(each) if each.plugin else each.function() for name, each in found.items()}


def _evaluation(
    ranking: Ranking, clusters: list[Clustering], ks: Sequence[int], classes: NDArray[np.int64], *, seed: int
) -> Evaluation:
    asked = ranking.n_relevant > 0
    values = {name: np.where(asked, each, math.nan) for name, each in query_values(ranking, ks).items()}
    scores = {name: float(each[asked].mean()) if asked.any() else math.nan for name, each in values.items()}
    for name, metric in clustering_metrics().items():
        scores |= _over_restarts(name, [metric(one) for one in clusters], clusters)
    counts = {"queries": float(len(asked)), "queries_without_hit": float((~asked).sum())}
    known = _metrics_of("ranking")
    queries = Queries(
        classes,
        ranking.first_hit,
        {name: each for name, each in values.items() if name in known},
        *(ranking.nearest or Nearest(np.empty((len(asked), 0), np.int32), None)),
    )
    return Evaluation({**scores, **_chance(ranking, clusters, seed), **counts}, queries)


def _clusters(given: Given, classes: NDArray[np.int64], *, restarts: int, seed: int) -> list[Clustering]:
    single = given.points.float() if given.points.is_cuda else given.points.float().cpu().numpy()
    return clusterings(single, classes, restarts=restarts, seed=seed)


def _stored_classes(labels: NDArray[Any], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    return labels.astype(np.int64) if labels.dtype.kind in "iu" else numbers


def _unscaled(ranking: Ranking, given: Given) -> Ranking:
    """Distances of the vectors as given."""
    if ranking.nearest is None or ranking.nearest.distances is None or given.scale == 1:
        return ranking
    distances = (ranking.nearest.distances.astype(np.float64) / given.scale).astype(np.float32)
    return ranking._replace(nearest=ranking.nearest._replace(distances=distances))


def _over_restarts(name: str, values: list[float], clusters: list[Clustering]) -> dict[str, float]:
    best = min(range(len(values)), key=lambda i: clusters[i].inertia, default=None)
    return {
        name: float(np.mean(values)) if values else math.nan,
        f"{name}_sd": float(np.std(values, ddof=1)) if len(values) > 1 else math.nan,
        f"{name}_best": math.nan if best is None else values[best],
    }


def _chance(ranking: Ranking, clusters: list[Clustering], seed: int) -> dict[str, float]:
    """Recall@1 expected of a random order, and NMI of the best clusters dealt out at random."""
    asked = ranking.n_relevant[ranking.n_relevant > 0]
    recall = float(asked.mean() / ranking.candidates) if len(asked) else math.nan
    if not clusters:
        return {"recall_at_1_chance": recall, "nmi_chance": math.nan}
    best = min(clusters, key=lambda one: one.inertia)
    dealt = best._replace(assignment=np.random.default_rng(seed).permutation(best.assignment))
    return {"recall_at_1_chance": recall, "nmi_chance": metrics.nmi(dealt)}
