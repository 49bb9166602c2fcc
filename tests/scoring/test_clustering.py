"""k-means against what defines it: the inertia of its own centres, its seed, and scikit-learn on a set it can solve.

The one of torch also against plain loops from the same rows, and against the one of faiss.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from bench.scoring import clustering
from bench.scoring.clustering import _first_rows, clusterings, kmeans, lloyd

Found = tuple[NDArray[np.int64], float]


def by_torch(points: NDArray[np.float32], classes: int, **options: Any) -> Found:
    return lloyd(torch.from_numpy(points), classes, **options)


BOTH = pytest.mark.parametrize("cluster", [kmeans, by_torch], ids=["faiss", "torch"])


def blobs(*, classes: int = 12, each: int = 25, noise: float = 0.05) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), each)
    points = rng.normal(size=(classes, 16))[labels] + noise * rng.normal(size=(len(labels), 16))
    order = rng.permutation(len(labels))
    return points[order].astype(np.float32), labels[order]


@BOTH
def test_the_same_seed_gives_the_same_clusters_and_another_gives_others(cluster: Callable[..., Found]) -> None:
    points, _ = blobs(noise=1.0)
    (first, inertia), (again, inertia_again), (other, _) = (cluster(points, 12, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert inertia == inertia_again
    assert not np.array_equal(first, other)


@BOTH
def test_inertia_is_close_to_that_around_the_means(cluster: Callable[..., Found]) -> None:
    points, _ = blobs(noise=0.5)
    assignment, inertia = cluster(points, 12, seed=0, iterations=50)
    means = np.stack([points[assignment == number].mean(0) for number in range(12)])
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


@BOTH
def test_as_many_clusters_as_rows(cluster: Callable[..., Found]) -> None:
    points, _ = blobs(classes=5, each=1)
    assignment, inertia = cluster(points, 5, seed=0)
    assert sorted(assignment) == [0, 1, 2, 3, 4]
    assert inertia == pytest.approx(0, abs=1e-4)


def test_one_class_is_not_clustered() -> None:
    assert clusterings(np.eye(4, dtype=np.float32), np.zeros(4, dtype=np.int64), restarts=3, seed=0) == []


def by_faiss(points: NDArray[np.float32], classes: int, *, seed: int, iterations: int) -> Found:
    limits = {"min_points_per_centroid": 1, "max_points_per_centroid": len(points)}
    model = faiss.Kmeans(points.shape[1], classes, niter=iterations, seed=seed, **limits)
    model.train(points)
    distance, nearest = model.index.search(points, 1)
    return nearest[:, 0], float(distance.sum(dtype=np.float64))


@pytest.mark.parametrize("large", [0, clustering.LARGE], ids=["changed centres alone", "all centres"])
@pytest.mark.parametrize("iterations", [0, 1, 2, 5, 20])
@pytest.mark.parametrize(("rows", "classes", "dim"), [(40, 3, 2), (600, 150, 8), (900, 90, 40), (50, 50, 4)])
def test_clusters_are_those_of_faiss(
    monkeypatch: pytest.MonkeyPatch, large: int, iterations: int, rows: int, classes: int, dim: int
) -> None:
    monkeypatch.setattr(clustering, "LARGE", large)
    rng = np.random.default_rng(rows)
    overlapping = rng.normal(size=(classes, dim))[rng.integers(0, classes, rows)] + rng.normal(size=(rows, dim))
    for points in (overlapping.astype(np.float32), overlapping.round().astype(np.float32)):  # with copies and ties
        assignment, inertia = kmeans(points, classes, seed=7, iterations=iterations)
        expected, least = by_faiss(points, classes, seed=7, iterations=iterations)
        assert np.array_equal(assignment, expected)
        assert inertia == (least if large else pytest.approx(least, rel=1e-5))


@pytest.mark.parametrize("seed", range(3))
def test_k_means_stops_where_faiss_does(seed: int) -> None:
    """A few rows far out and far apart: beside their distances those of the others are lost in single precision."""
    points = np.random.default_rng(0).normal(size=(600, 2)).astype(np.float32)
    points[:60] = 1e4 * points[:60] + np.float32([1e6, 0])
    found, expected = kmeans(points, 10, seed=seed, iterations=50), by_faiss(points, 10, seed=seed, iterations=50)
    assert np.array_equal(found[0], expected[0])
    assert found[1] == expected[1]


def plain(points: NDArray[np.float32], classes: int, *, seed: int, iterations: int = 20) -> tuple[NDArray[Any], float]:
    """Lloyd's k-means in double precision, by the definition, for data that leave no cluster empty."""
    x = points.astype(np.float64)
    centres = x[_first_rows(len(x), classes, seed)]
    for _ in range(iterations):
        nearest = ((x[:, None] - centres) ** 2).sum(2).argmin(1)
        centres = np.array([x[nearest == number].mean(0) for number in range(classes)])
    square = ((x[:, None] - centres) ** 2).sum(2)
    return square.argmin(1), square.min(1).sum()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("noise", [0.05, 0.5])
def test_torch_takes_the_steps_of_plain_loops_and_of_faiss(seed: int, noise: float) -> None:
    points, _ = blobs(noise=noise)
    expected, least = plain(points, 12, seed=seed)
    assignment, inertia = by_torch(points, 12, seed=seed)
    assert np.array_equal(assignment, expected)
    assert inertia == pytest.approx(least, rel=1e-6)
    assert np.array_equal(assignment, kmeans(points, 12, seed=seed)[0])


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_torch_starts_from_the_rows_of_faiss(seed: int) -> None:
    points, _ = blobs()
    model = faiss.Kmeans(16, 12, niter=0, seed=seed, min_points_per_centroid=1, max_points_per_centroid=len(points))
    model.train(points)
    assert np.array_equal(points[_first_rows(len(points), 12, seed)], model.centroids)


@pytest.mark.parametrize("copies", [1, 10], ids=["different rows", "copies, which leave clusters empty"])
def test_inertia_never_increases(copies: int) -> None:
    points = np.repeat(blobs(noise=1.0)[0][: 300 // copies], copies, axis=0)
    inertias = [by_torch(points, 25, seed=1, iterations=count)[1] for count in range(12)]
    assert all(later <= earlier * (1 + 1e-7) for earlier, later in pairwise(inertias))
    assert inertias[-1] < 0.9 * inertias[0]


def test_empty_clusters_of_torch_move_to_the_farthest_rows() -> None:
    """Two copies of one row are drawn: the second is left empty and finds the group that none was drawn from."""
    points = np.repeat(blobs(classes=6, each=1)[0], 50, axis=0)
    assert len(np.unique(points[_first_rows(300, 6, 0)], axis=0)) < 6
    assignment, inertia = by_torch(points, 6, seed=0)
    assert np.array_equal(np.bincount(assignment), np.full(6, 50))
    assert inertia == pytest.approx(0, abs=1e-9)


def test_an_offset_changes_no_cluster_of_torch() -> None:
    points, _ = blobs(noise=0.5)
    assert np.array_equal(by_torch(points + 1000, 12, seed=0)[0], by_torch(points, 12, seed=0)[0])


def test_a_tensor_is_clustered_where_it_lies_from_the_same_seeds() -> None:
    points, labels = blobs(noise=0.5)
    by_faiss, torched = (clusterings(given, labels, restarts=3, seed=0) for given in (points, torch.from_numpy(points)))
    for one, other in zip(by_faiss, torched, strict=True):
        assert np.array_equal(one.assignment, other.assignment)
        assert one.inertia == pytest.approx(other.inertia, rel=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_clusters_as_the_cpu_and_the_same_every_time() -> None:
    points = torch.from_numpy(blobs(classes=60, each=40, noise=0.3)[0])
    (found, inertia), (again, inertia_again) = (lloyd(points.cuda(), 60, seed=3) for _ in range(2))
    assert np.array_equal(found, again)
    assert inertia == inertia_again
    expected, least = lloyd(points, 60, seed=3)
    assert np.array_equal(found, expected)
    assert inertia == pytest.approx(least, rel=1e-6)
