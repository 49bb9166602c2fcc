"""k-means against what defines it: the inertia of its own centres, its seed, and scikit-learn on a set it can solve."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from bench.clustering import clusterings, kmeans


def blobs(*, classes: int = 12, each: int = 25, noise: float = 0.05) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), each)
    points = rng.normal(size=(classes, 16))[labels] + noise * rng.normal(size=(len(labels), 16))
    order = rng.permutation(len(labels))
    return points[order].astype(np.float32), labels[order]


def test_the_same_seed_gives_the_same_clusters_and_another_gives_others() -> None:
    points, _ = blobs(noise=1.0)
    (first, inertia), (again, inertia_again), (other, _) = (kmeans(points, 12, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert inertia == inertia_again
    assert not np.array_equal(first, other)


def test_inertia_is_close_to_that_around_the_means() -> None:
    points, _ = blobs(noise=0.5)
    assignment, inertia = kmeans(points, 12, seed=0, iterations=50)
    means = np.stack([points[assignment == cluster].mean(0) for cluster in range(12)])
    assert ((points - means[assignment]) ** 2).sum() == pytest.approx(inertia, rel=1e-3)


def test_the_best_restart_is_as_good_as_that_of_scikit_learn() -> None:
    points, labels = blobs(noise=0.5)
    best = min(one.inertia for one in clusterings(points, labels, restarts=20, seed=0))
    theirs = KMeans(12, init="random", n_init=20, max_iter=20, random_state=0).fit(points).inertia_
    assert best == pytest.approx(theirs, rel=0.02)


def test_every_restart_has_a_seed_of_its_own() -> None:
    points, labels = blobs(noise=1.0)
    inertias = [one.inertia for one in clusterings(points, labels, restarts=5, seed=0)]
    assert len(set(inertias)) == 5
    assert inertias == [one.inertia for one in clusterings(points, labels, restarts=5, seed=0)]
    assert inertias[:2] == [one.inertia for one in clusterings(points, labels, restarts=2, seed=0)]


def test_sets_too_small_or_too_large_for_the_sampling_limits_are_clustered_whole(
    capfd: pytest.CaptureFixture[str],
) -> None:
    points, labels = blobs(classes=100, each=3)
    (one,) = clusterings(points, labels, restarts=1, seed=0)
    assert one.assignment.shape == labels.shape
    few, _ = kmeans(np.repeat(points[:2], 400, axis=0), 2, seed=0)
    assert len(np.unique(few)) == 2
    assert capfd.readouterr() == ("", "")


def test_as_many_clusters_as_rows() -> None:
    points, _ = blobs(classes=5, each=1)
    assignment, inertia = kmeans(points, 5, seed=0)
    assert sorted(assignment) == [0, 1, 2, 3, 4]
    assert inertia == pytest.approx(0, abs=1e-4)


def test_one_class_is_not_clustered() -> None:
    assert clusterings(np.eye(4, dtype=np.float32), np.zeros(4, dtype=np.int64), restarts=3, seed=0) == []
