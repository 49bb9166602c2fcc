"""k-means over the test embeddings: one assignment a restart, for every clustering metric."""

from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

__all__ = ["Clustering", "clusterings", "kmeans"]


class Clustering(NamedTuple):
    """Classes and clusters of the same rows."""

    labels: NDArray[np.int64]
    """[N]: the class of each row."""
    assignment: NDArray[np.int64]
    """[N]: its cluster."""
    inertia: float = 0.0
    """Sum of squared distances to the nearest centre."""


def kmeans(
    embeddings: NDArray[np.float32], classes: int, *, seed: int, iterations: int = 20
) -> tuple[NDArray[np.int64], float]:
    """Lloyd's k-means over every row of embeddings [N, dim] from a random choice of rows; k is `classes`, at most N.

    Returns the assignment [N] to 0 .. classes - 1 and its inertia. The same seed gives the same clusters.
    """
    points = np.ascontiguousarray(embeddings, dtype=np.float32)
    # Without these two limits faiss trains on a sample of large sets, and warns on small ones.
    limits = {"min_points_per_centroid": 1, "max_points_per_centroid": len(points)}
    model = faiss.Kmeans(points.shape[1], classes, niter=iterations, seed=seed, **limits)
    model.train(points)
    distance, nearest = model.index.search(points, 1)
    return nearest[:, 0], float(distance.sum(dtype=np.float64))


def clusterings(
    embeddings: NDArray[np.float32], labels: NDArray[np.int64], *, restarts: int, seed: int
) -> list[Clustering]:
    """Cluster embeddings [N, dim] into as many clusters as there are labels, once a restart, each seeded from `seed`.

    No clusterings where there are fewer than two classes to tell apart.
    """
    classes = len(np.unique(labels))
    if classes < 2:
        return []
    seeds = np.random.SeedSequence(seed).generate_state(restarts) % 2**31
    return [Clustering(labels, *kmeans(embeddings, classes, seed=int(one))) for one in seeds]
