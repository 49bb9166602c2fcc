"""The scores of the harness against loops written from the definitions, scikit-learn and pytorch-metric-learning.

On small sets made for what is easily got wrong, and on the golden cases where BENCH_GOLDEN or BENCH_SHARED has them.
"""

import math
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score
from sklearn.neighbors import NearestNeighbors
from support import brute_force
from support.sample_batches import GOLDEN
from support.sample_images import EVERY, every, one_set

from bench.scoring import metrics
from bench.scoring.clustering import Clustering, clusterings
from bench.scoring.conventions.rescore import EmbeddedImages, scorer
from bench.scoring.conventions.rules import CONVENTIONS, Rules, convention
from bench.scoring.evaluation import evaluate

KS = (1, 2, 4, 8)
NAMES = {
    "precision_at_1": "recall_at_1",
    "mean_average_precision_at_r": "map_at_r",
    "r_precision": "r_precision",
    "NMI": "nmi",
    "AMI": "ami",
}


def same(ours: float, theirs: float) -> bool:
    return ours == pytest.approx(theirs, abs=1e-9, nan_ok=True)


def own(images: EmbeddedImages, **options: Any) -> dict[str, float]:
    return evaluate(
        images.points, images.labels, gallery=images.gallery, gallery_labels=images.gallery_labels, **options
    )


def candidates(images: EmbeddedImages) -> list[list[bool]]:
    """Of every query's candidates, nearest first, ties by index: are they of its class?"""
    return brute_force.relevant(*images[:4]).tolist()


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


@every
def test_ranking_scores_are_those_of_the_definitions(images: EmbeddedImages) -> None:
    hits, scores = brute_force.relevant(*images[:4]), own(images, ks=KS, restarts=0)
    assert scores["queries_without_hit"] == (~hits.any(1)).sum()
    expected = brute_force.scores(hits, KS)
    for name in ("map_at_r", "r_precision", *(f"recall_at_{k}" for k in KS)):
        assert same(scores[name], expected.get(name, math.nan))


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_recall_is_that_of_the_neighbours_of_scikit_learn(distance: str) -> None:
    images = EVERY["plain"]
    found = NearestNeighbors(n_neighbors=8, metric=distance, algorithm="brute").fit(images.points).kneighbors()[1]
    hits = images.labels[found] == images.labels[:, None]
    scores = scorer(images, ks=KS, restarts=0)(Rules(distance=distance))
    for k in KS:
        assert same(scores[f"recall_at_{k}"], hits[:, :k].any(1).mean())


@every
def test_clustering_scores_are_those_of_scikit_learn_on_the_same_clusters(images: EmbeddedImages) -> None:
    made = clusterings(images.points.astype(np.float32), images.labels, restarts=3, seed=4)
    scores = own(images, restarts=3, seed=4)
    for name, theirs in {"nmi": normalized_mutual_info_score, "ami": adjusted_mutual_info_score}.items():
        assert same(scores[name], mean([theirs(one.labels, one.assignment) for one in made]))


@every
def test_the_rules_of_the_harness_give_what_it_stores(images: EmbeddedImages) -> None:
    stored = own(images, ks=KS, restarts=2, seed=3)
    scores = scorer(images, ks=KS, restarts=2, seed=3)(CONVENTIONS["lossbench"].rules)
    assert scores["queries_left_out"] == stored["queries_without_hit"]
    for name in scores.keys() - {"queries_left_out"}:
        assert same(scores[name], stored[name]), name


@every
@pytest.mark.parametrize("name", ["pml", "pml@1", "pml@3", "pml-avg-of-avgs", "musgrave"])
def test_pml_conventions_are_pml_itself(images: EmbeddedImages, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """To the bit of its k-means, which always starts from the same seed."""
    k = int(name.partition("@")[2]) if "@" in name else None
    judge = AccuracyCalculator(
        include=tuple(NAMES), avg_of_avgs=name == "pml-avg-of-avgs", k=k, device=torch.device("cpu")
    )
    queries, gallery = (None if p is None else torch.from_numpy(p) for p in (images.points, images.gallery))
    assert queries is not None
    if name == "musgrave":  # as its testers do before they ask
        queries, gallery = (None if p is None else torch.nn.functional.normalize(p) for p in (queries, gallery))
    pool = () if gallery is None else (gallery, torch.from_numpy(images.gallery_labels))
    theirs = judge.get_accuracy(queries, torch.from_numpy(images.labels), *pool)
    scores = scorer(images, ks=(1,))(convention(name).rules)
    for pml, ours in NAMES.items():
        assert same(scores[ours], theirs[pml]), ours


@every
def test_pml_and_the_harness_agree_on_ranking_and_on_the_same_clusters(images: EmbeddedImages) -> None:
    judge = AccuracyCalculator(include=tuple(NAMES), device=torch.device("cpu"))
    queries, labels = torch.from_numpy(images.points), torch.from_numpy(images.labels)
    pool = () if images.gallery is None else (torch.from_numpy(images.gallery), torch.from_numpy(images.gallery_labels))
    theirs = judge.get_accuracy(queries, labels, *pool)
    scores = own(images, restarts=0)
    clusters = judge.get_cluster_labels(queries, labels).numpy()
    scores["nmi"], scores["ami"] = (
        metric(Clustering(images.labels, clusters)) for metric in (metrics.nmi, metrics.ami)
    )
    for pml, ours in NAMES.items():
        assert same(scores[ours], theirs[pml]), ours


def with_itself(images: EmbeddedImages) -> NDArray[np.bool_]:
    """As `candidates`, the query itself among them."""
    return brute_force.relevant(images.points, images.labels, images.points, images.labels)


@one_set
def test_revisiting_is_what_its_repository_describes(images: EmbeddedImages) -> None:
    """The nearest of all images, itself among them, less the first; R is the size of the class; every query counts."""
    hits = with_itself(images)[:, 1:]
    sizes = (images.labels == images.labels[:, None]).sum(1).tolist()
    found = [brute_force.values(row, KS, r=size) for row, size in zip(hits, sizes, strict=True)]
    scores = scorer(images, ks=KS)(CONVENTIONS["revisiting"].rules)
    for name in ("map_at_r", *(f"recall_at_{k}" for k in KS)):
        assert same(scores[name], mean([one[name] for one in found]))


@one_set
def test_revisiting_clusters_as_faiss_does_unless_told_otherwise(images: EmbeddedImages) -> None:
    points, classes = images.points.astype(np.float32), len(np.unique(images.labels))
    model, index = faiss.Clustering(points.shape[1], classes), faiss.IndexFlatL2(points.shape[1])
    model.niter, model.min_points_per_centroid, model.max_points_per_centroid = 20, 1, 10**9
    model.train(points, index)
    nearest = faiss.IndexFlatL2(points.shape[1])
    nearest.add(faiss.vector_float_to_array(model.centroids).reshape(classes, -1))
    theirs = normalized_mutual_info_score(images.labels, nearest.search(points, 1)[1][:, 0])
    assert same(scorer(images)(CONVENTIONS["revisiting"].rules)["nmi"], theirs)


@one_set
def test_song_counts_every_query(images: EmbeddedImages) -> None:
    hits = candidates(images)
    scores = scorer(images, ks=KS, restarts=0)(CONVENTIONS["song"].rules)
    assert all(same(scores[f"recall_at_{k}"], mean([float(any(row[:k])) for row in hits])) for k in KS)


def turned() -> EmbeddedImages:
    """Directions whose unit vectors are exact, a few of them more than once, in several lengths."""
    rng = np.random.default_rng(11)
    signs = rng.choice([-1, 1], (40, 4))
    return EmbeddedImages(
        (signs * 2.0 ** rng.integers(-2, 3, (40, 1))).astype(np.float32), rng.permutation(np.arange(40) % 8)
    )


def similarities(images: EmbeddedImages, query: int) -> list[float]:
    pool = images.points if images.gallery is None else images.gallery
    unit = images.points[query] / np.linalg.norm(images.points[query])
    return [float(unit @ (other / np.linalg.norm(other))) for other in pool]


def test_proxy_anchor_drops_the_first_of_all_by_cosine() -> None:
    images = turned()
    recalls: dict[int, list[float]] = {k: [] for k in KS}
    for query, label in enumerate(images.labels):
        found = similarities(images, query)
        order = sorted(range(40), key=lambda i: (-found[i], i))[1:]
        for k in KS:
            recalls[k].append(float(label in images.labels[order[:k]]))
    scores = scorer(images, ks=KS, restarts=0)(CONVENTIONS["proxy-anchor"].rules)
    assert all(same(scores[f"recall_at_{k}"], mean(recalls[k])) for k in KS)


def test_proxy_anchor_in_a_gallery_counts_what_is_strictly_nearer() -> None:
    every = turned()
    images = EmbeddedImages(every.points[:16], every.labels[:16] % 4, every.points[16:], every.labels[16:] % 4)
    recalls: dict[int, list[float]] = {k: [] for k in KS}
    for query, label in enumerate(images.labels):
        found, is_same = np.array(similarities(images, query)), images.gallery_labels == label
        before = int((found[~is_same] > found[is_same].max()).sum())
        for k in KS:
            recalls[k].append(float(before < k))
    rules = CONVENTIONS["proxy-anchor"].gallery
    assert rules is not None
    scores = scorer(images, ks=KS, restarts=0)(rules)
    assert all(same(scores[f"recall_at_{k}"], mean(recalls[k])) for k in KS)


@pytest.mark.skipif(not any(GOLDEN.glob("metrics_case*")), reason="no vectors: set BENCH_GOLDEN or BENCH_SHARED")
def test_golden_cases_are_among_the_sets() -> None:
    assert len([name for name in EVERY if name.startswith("metrics_case")]) == len(list(GOLDEN.glob("metrics_case*")))
