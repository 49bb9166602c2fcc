"""Contracts that every metric keeps, and each against loops, scikit-learn and PML."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score
from support import brute_force

from bench.scoring import metrics
from bench.scoring.clustering import Clustering
from bench.scoring.ranking import Ranking, rank

EVERY = [getattr(metrics, name) for name in metrics.__all__]
Metric = Callable[..., Any]


def sample(n: int = 120, classes: int = 15, *, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return (rng.normal(size=(classes, 6))[labels] + rng.normal(size=(n, 6))).astype(np.float32), labels


def measure(metric: Metric, points: NDArray[Any], labels: NDArray[np.int64], clusters: NDArray[np.int64]) -> float:
    """The metric on whichever of the two its first parameter asks for."""
    parameters = inspect.signature(metric, eval_str=True).parameters
    if next(iter(parameters.values())).annotation is Clustering:
        return metric(Clustering(labels, clusters))
    assert next(iter(parameters.values())).annotation is Ranking
    values = metric(rank(torch.from_numpy(points), labels, depth=4), **({"k": 1} if "k" in parameters else {}))
    assert values.shape == labels.shape
    return float(values.mean())


@pytest.mark.parametrize("metric", EVERY, ids=metrics.__all__)
def test_score_lies_between_chance_and_one(metric: Metric) -> None:
    points, labels = sample()
    score = measure(metric, points, labels, (labels + (np.arange(len(labels)) % 3 == 0)) % 15)
    assert 0 < score < 1


@pytest.mark.parametrize("metric", EVERY, ids=metrics.__all__)
def test_perfect_embeddings_and_clusters_score_one(metric: Metric) -> None:
    _, labels = sample()
    points = np.eye(15, dtype=np.float32)[labels]
    assert measure(metric, points, labels, 14 - labels) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("metric", EVERY, ids=metrics.__all__)
def test_order_of_rows_and_names_of_classes_do_not_matter(metric: Metric) -> None:
    points, labels = sample()
    clusters = sample(seed=1)[1][np.random.default_rng(2).permutation(120)]
    order = np.random.default_rng(3).permutation(len(labels))
    renamed = measure(metric, points[order], 100 - labels[order], 7 * clusters[order])
    assert renamed == pytest.approx(measure(metric, points, labels, clusters), abs=1e-12)


@pytest.mark.parametrize("metric", EVERY, ids=metrics.__all__)
def test_docstring_cites_its_source(metric: Metric) -> None:
    assert metric.__doc__
    assert any(char.isdigit() for char in metric.__doc__.splitlines()[0].partition("(")[2])


RANKED = [one for one in EVERY if Ranking in inspect.get_annotations(one, eval_str=True).values()]


@pytest.mark.parametrize("metric", RANKED, ids=lambda metric: metric.__name__)
def test_the_value_of_a_query_is_its_own(metric: Metric) -> None:
    """Whatever the other queries are, and without a warning where there is nothing to find."""
    points, labels = sample()
    labels[:3] = [20, 21, 22]
    ranking = rank(torch.from_numpy(points), labels, depth=4)
    k = {"k": 2} if "k" in inspect.signature(metric).parameters else {}
    some = np.arange(0, 120, 7)
    part = Ranking(*(column[some] for column in ranking[:3]), ranking.candidates)
    assert np.array_equal(metric(part, **k), metric(ranking, **k)[some], equal_nan=True)


@pytest.mark.parametrize("seed", range(3))
def test_values_of_queries_are_those_of_the_definitions(seed: int) -> None:
    points, labels = unbalanced(seed)
    ranking = rank(torch.from_numpy(points), labels, depth=4)
    found = {"recall_at_2": metrics.recall_at(ranking, 2), "map_at_r": metrics.map_at_r(ranking)}
    found["r_precision"] = metrics.r_precision(ranking)
    for query, hits in enumerate(brute_force.relevant(points, labels)):
        expected = {"map_at_r": 0, "r_precision": 0, **brute_force.values(hits, (2,))}
        assert {name: each[query] for name, each in found.items()} == pytest.approx(expected, abs=1e-12)


def unbalanced(seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(12, size=150, p=np.arange(1, 13) / 78)
    points = rng.normal(size=(12, 8))[labels] + rng.normal(size=(150, 8))
    return points.astype(np.float32), labels


@pytest.mark.parametrize("seed", range(3))
def test_ranking_metrics_agree_with_pml(seed: int) -> None:
    points, labels = unbalanced(seed)
    wanted = ("precision_at_1", "mean_average_precision_at_r", "r_precision")
    calculator = AccuracyCalculator(include=wanted, k="max_bin_count", device=torch.device("cpu"))
    theirs = calculator.get_accuracy(torch.from_numpy(points), torch.from_numpy(labels))
    ranking = rank(torch.from_numpy(points), labels)
    asked = ranking.n_relevant > 0
    assert metrics.recall_at(ranking, 1)[asked].mean() == pytest.approx(theirs["precision_at_1"], abs=1e-6)
    assert metrics.map_at_r(ranking)[asked].mean() == pytest.approx(theirs["mean_average_precision_at_r"], abs=1e-6)
    assert metrics.r_precision(ranking)[asked].mean() == pytest.approx(theirs["r_precision"], abs=1e-6)


LABELLINGS = {
    "equal": (np.arange(60) % 6, np.arange(60) % 6),
    "random": (np.arange(60) % 6, np.random.default_rng(0).integers(0, 9, 60)),
    "independent": (np.arange(60) % 6, np.arange(60) // 6 % 5),
    "one cluster": (np.arange(60) % 6, np.zeros(60, dtype=np.int64)),
    "one class": (np.zeros(60, dtype=np.int64), np.arange(60) % 6),
    "both one": (np.zeros(60, dtype=np.int64), np.ones(60, dtype=np.int64)),
    "all singletons": (np.arange(60), np.arange(60)[::-1]),
    "clusters all singletons": (np.arange(60) % 6, np.arange(60)),
    "split classes": (np.arange(60) % 6, np.arange(60) % 12),
    "merged classes": (np.arange(60) % 6, np.arange(60) % 3),
    "two points": (np.array([0, 1]), np.array([0, 0])),
    "one point": (np.array([0]), np.array([3])),
    "uneven": (np.repeat(np.arange(5), [1, 2, 30, 4, 23]), np.repeat(np.arange(4), [20, 3, 36, 1])),
}


@pytest.mark.filterwarnings("ignore:The number of unique classes:UserWarning")
@pytest.mark.parametrize("case", LABELLINGS)
def test_clustering_metrics_agree_with_scikit_learn(case: str) -> None:
    labels, clusters = LABELLINGS[case]
    ours = Clustering(labels, clusters)
    assert metrics.nmi(ours) == pytest.approx(normalized_mutual_info_score(labels, clusters), abs=1e-12)
    assert metrics.ami(ours) == pytest.approx(adjusted_mutual_info_score(labels, clusters), abs=1e-12)


@pytest.mark.parametrize("n", [200, 1000, 3000])
@pytest.mark.parametrize("seed", range(3))
def test_clustering_metrics_agree_with_scikit_learn_on_larger_sets(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n // 12, n)
    clusters = np.where(rng.random(n) < 0.6, labels, rng.choice(n // 12, n, p=rng.dirichlet(np.ones(n // 12))))
    ours, tolerance = Clustering(labels, clusters), 1e-12 if n <= 1000 else 1e-10
    assert metrics.nmi(ours) == pytest.approx(normalized_mutual_info_score(labels, clusters), abs=1e-12)
    # Log-factorials of n carry rounding in proportion to n log n, in scikit-learn too.
    assert metrics.ami(ours) == pytest.approx(adjusted_mutual_info_score(labels, clusters), abs=tolerance)
