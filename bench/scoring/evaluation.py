"""From test embeddings, or an order, to every score: neighbours once, clusters once a restart, then each metric."""

import inspect
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from bench.scoring import metrics
from bench.scoring.clustering import Clustering, clusterings
from bench.scoring.ranking import Ranking, rank, rank_order

__all__ = ["Evaluation", "evaluate", "score", "score_order"]


class Evaluation(NamedTuple):
    """What is known of a model once its test embeddings are compared."""

    scores: dict[str, float]
    """As returned by `evaluate`."""
    first_hit: NDArray[np.int32]
    """[Q]: rank, from 1, of each query's first hit; 0 where the ranking holds none."""


def evaluate(
    embeddings: Tensor | ArrayLike,
    labels: Tensor | ArrayLike,
    *,
    gallery: Tensor | ArrayLike | None = None,
    gallery_labels: Tensor | ArrayLike | None = None,
    ks: Sequence[int] = (1, 2, 4, 8),
    restarts: int = 5,
    seed: int = 0,
) -> dict[str, float]:
    """Every metric of embeddings [Q, dim] with labels [Q], as a dict from column to score.

    Each row is a query; its candidates are the gallery [N, dim], or without one all other rows. Compared by Euclidean
    distance as given: normalise first for cosine. A query with nothing to find is left out of every ranking mean and
    counted (queries_without_hit). k-means runs over the queries alone, `restarts` times: NAME is the mean, NAME_sd the
    standard deviation (n - 1) and NAME_best the value at the lowest inertia. recall_at_1_chance is what a random order
    would score, nmi_chance what the clusters of lowest inertia score with their rows dealt out at random (`seed`); AMI
    is 0 there. nan: the score cannot be computed (no query has anything to find; fewer than two classes; no restart,
    or for sd fewer than two). Searched and clustered on the device that the embeddings are on; beyond these memory is
    that of a chunk, of [Q, largest K or R] flags, and of copies of the embeddings. Raises ValueError, in one sentence,
    for inputs that do not fit together or are not finite.
    """
    given = {"gallery": gallery, "gallery_labels": gallery_labels}
    return score(embeddings, labels, **given, ks=ks, restarts=restarts, seed=seed).scores


def score(
    embeddings: Tensor | ArrayLike,
    labels: Tensor | ArrayLike,
    *,
    gallery: Tensor | ArrayLike | None = None,
    gallery_labels: Tensor | ArrayLike | None = None,
    ks: Sequence[int] = (1, 2, 4, 8),
    restarts: int = 5,
    seed: int = 0,
) -> Evaluation:
    """`evaluate`, and beside the scores the rank of every query's first hit, for paired tests."""
    if restarts < 0:
        raise ValueError("restarts must be 0 or more: change it.")
    _check_ks(ks)
    points, classes = _checked("queries", embeddings, labels)
    pool, pool_classes = _checked_gallery(points, gallery, gallery_labels)
    classes, pool_classes = _numbered(classes, pool_classes)
    ranking = rank(points, classes, gallery=pool, gallery_labels=pool_classes, depth=max(ks))
    single = points.float() if points.is_cuda else points.float().cpu().numpy()
    clusters = clusterings(single, classes, restarts=restarts, seed=seed)
    return _evaluation(ranking, clusters, ks, seed=seed)


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
    _check_ks(ks)
    classes, pool_classes = _array(labels), None if gallery_labels is None else _array(gallery_labels)
    found = _checked_order(order, classes, pool_classes)
    numbers, pool_numbers = _numbered(classes, pool_classes)
    return _evaluation(rank_order(found, numbers, gallery_labels=pool_numbers, depth=max(ks)), [], ks, seed=0)


def _evaluation(ranking: Ranking, clusters: list[Clustering], ks: Sequence[int], *, seed: int) -> Evaluation:
    scores = {**_every_metric(ranking, clusters, ks), **_chance(ranking, clusters, seed)}
    counts = {
        "queries": float(len(ranking.n_relevant)),
        "queries_without_hit": float((ranking.n_relevant == 0).sum()),
    }
    return Evaluation(scores | counts, ranking.first_hit)


def _every_metric(ranking: Ranking, clusters: list[Clustering], ks: Sequence[int]) -> dict[str, float]:
    scores: dict[str, float] = {}
    for name in metrics.__all__:
        metric: Any = getattr(metrics, name)
        parameters = inspect.signature(metric, eval_str=True).parameters
        if next(iter(parameters.values())).annotation is Clustering:
            scores |= _over_restarts(name, [metric(one) for one in clusters], clusters)
        elif "k" in parameters:
            scores |= {f"{name}_{k}": metric(ranking, k) for k in ks}
        else:
            scores[name] = metric(ranking)
    return scores


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


def _check_ks(ks: Sequence[int]) -> None:
    if not ks or min(ks) < 1:
        raise ValueError("ks must be whole numbers from 1 up, at least one: change them.")


def _checked(name: str, embeddings: Tensor | ArrayLike, labels: Tensor | ArrayLike) -> tuple[Tensor, NDArray[Any]]:
    points, classes = _floating(embeddings), _array(labels)
    if points.ndim != 2 or not points.numel():
        raise ValueError(f"{name} must be a matrix [images, dim] with something in it, not {tuple(points.shape)}.")
    if classes.shape != (len(points),):
        raise ValueError(f"{name} are {len(points)} rows but labels are {classes.shape}: give one label a row.")
    # Beyond 1e15 squares leave the range of single precision, in which neighbours are searched.
    if not points.abs().max() <= 1e15:
        raise ValueError(f"{name} hold NaN, infinity or values beyond 1e15: the model has diverged, train it anew.")
    return points, classes


def _array(values: Tensor | ArrayLike) -> NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _floating(embeddings: Tensor | ArrayLike) -> Tensor:
    if not isinstance(embeddings, Tensor):
        embeddings = torch.from_numpy(np.require(embeddings, requirements=["C", "W"]))
    embeddings = embeddings.detach()
    return embeddings if embeddings.dtype in (torch.float32, torch.float64) else embeddings.float()


def _checked_gallery(
    queries: Tensor, gallery: Tensor | ArrayLike | None, labels: Tensor | ArrayLike | None
) -> tuple[Tensor | None, NDArray[Any] | None]:
    if gallery is None and labels is None:
        return None, None
    if gallery is None or labels is None:
        raise ValueError("a gallery goes with its labels: give gallery and gallery_labels, or neither.")
    points, classes = _checked("gallery", gallery, labels)
    if points.shape[1] != queries.shape[1]:
        raise ValueError(f"queries are {queries.shape[1]} wide, the gallery {points.shape[1]}: embed both alike.")
    return points.to(queries.device), classes


def _checked_order(
    order: Tensor | ArrayLike, labels: NDArray[Any], gallery_labels: NDArray[Any] | None
) -> NDArray[np.integer]:
    found, others = _array(order), labels if gallery_labels is None else gallery_labels
    if found.ndim != 2 or not len(found) or found.dtype.kind not in "iu":
        raise ValueError(f"an order is a matrix [queries, depth] of indices, not {found.dtype} {found.shape}.")
    if labels.shape != (len(found),) or others.ndim != 1:
        raise ValueError(f"an order of {len(found)} queries and labels {labels.shape}: give one label a query.")
    if found.size and not 0 <= found.min() <= found.max() < len(others):
        raise ValueError(f"an order of {len(others)} images holds indices from 0 to {len(others) - 1}: check it.")
    if gallery_labels is None and (found == np.arange(len(found))[:, None]).any():
        raise ValueError("an order holds a query as its own candidate: leave it out, or give gallery_labels.")
    if any((np.diff(np.sort(row)) == 0).any() for row in found):
        raise ValueError("an order holds a candidate twice for one query: rank each once.")
    return found


def _numbered(labels: NDArray[Any], others: NDArray[Any] | None) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Labels of any kind as numbers that both sides share."""
    together = labels if others is None else np.concatenate([labels, others])
    numbers = np.unique(together, return_inverse=True)[1].astype(np.int64)
    return numbers[: len(labels)], None if others is None else numbers[len(labels) :]
