"""k-means over the test embeddings: one assignment per restart, for every clustering metric.

Three ways, which take the same steps from the same rows:

- `kmeans` on the processor has the bits of faiss and makes the stored scores. It leaves out what cannot have changed:
  a third of the time of faiss for 20,000 x 256 in 4,000 clusters (1.4 s against 4.3 s of one core), half of it at
  60,000 images, the same at 3,000.
- `by_faiss` is faiss itself: for what `kmeans` leaves to it, a cluster that is left empty, and for learning the centres
  from a sample, as other tools do.
- `lloyd` is for embeddings on a GPU, where faiss-cpu is not. On a processor it takes five times as long as faiss.
"""

from typing import NamedTuple

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Clustering", "by_faiss", "clusterings", "kmeans", "lloyd"]

LARGE = 2**24
"""From this many pairs of a row and a centre on, centres that have not changed are left out of k-means."""


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

    Returns the assignment [N] to 0 .. classes - 1 and its inertia. The same seed gives the same clusters: those of
    faiss, whose steps these are. Its last assignment is not computed once more, and on large sets rows are compared
    with those centres alone that have changed.
    """
    points = np.ascontiguousarray(embeddings, dtype=np.float32)
    if iterations < 1 or classes == len(points):
        return by_faiss(points, classes, seed=seed, iterations=iterations)
    centres = points[_first_rows(len(points), classes, seed)]
    found, objective = _assigned(points, centres), np.float32(np.nan)
    for _ in range(iterations):
        if not np.bincount(found.nearest, minlength=classes).all():
            return by_faiss(points, classes, seed=seed, iterations=iterations)
        before, centres, past = centres, _faiss_means(points, found.nearest, classes), objective
        objective = found.distance.cumsum(dtype=np.float32)[-1]
        found = _reassigned(points, found, before, centres)
        # Here faiss stops, by this sum in single precision, though rows may still change.
        if objective == past:
            break
    return found.nearest, float(found.distance.sum(dtype=np.float64))


def by_faiss(
    points: NDArray[np.float32], classes: int, *, seed: int, iterations: int = 20, most: int | None = None
) -> tuple[NDArray[np.int64], float]:
    """What `kmeans` returns, by faiss itself, which splits others where a cluster is left empty.

    `most`: how many rows per cluster the centres are learned from; None for all.
    """
    # Without the upper limit faiss trains on a sample of large sets, without the lower one it warns on small ones.
    limits = {"min_points_per_centroid": 1, "max_points_per_centroid": most or len(points)}
    model = faiss.Kmeans(points.shape[1], classes, niter=iterations, seed=seed, **limits)
    model.train(points)
    distance, nearest = model.index.search(points, 1)
    return nearest[:, 0], float(distance.sum(dtype=np.float64))


def lloyd(embeddings: Tensor, classes: int, *, seed: int, iterations: int = 20) -> tuple[NDArray[np.int64], float]:
    """`kmeans` of embeddings [N, dim] where they lie, on any device: from the same rows, by the same steps.

    Rounding aside it differs only where a cluster is left empty: its centre moves to the row that is farthest from its
    own, the next empty one's to the next farthest, ties to the lower index; faiss splits clusters drawn at random. So
    inertia never increases. Sums are in double precision and in the order of the rows: the same seed gives the same
    clusters. No iteration waits for the device.
    """
    # Distances do not change with an offset that all rows share, but it costs the products their digits.
    points = (embeddings - embeddings.mean(0, dtype=torch.float64)).float()
    centres = points[torch.from_numpy(_first_rows(len(points), classes, seed)).to(points.device)]
    for _ in range(iterations):
        centres = _means(points, *_nearest(points, centres), classes)
    assignment, _ = _nearest(points, centres)
    inertia = (points - centres[assignment]).square().sum(dtype=torch.float64)
    return assignment.cpu().numpy(), float(inertia)


def clusterings(
    embeddings: NDArray[np.float32] | Tensor, labels: NDArray[np.int64], *, restarts: int, seed: int
) -> list[Clustering]:
    """Cluster embeddings [N, dim] into as many clusters as there are labels, once per restart, each seeded from `seed`.

    An array by `kmeans`, a tensor by `lloyd`. No clusterings where there are fewer than two classes to tell apart.
    """
    classes = len(np.unique(labels))
    if classes < 2:
        return []
    seeds = (int(one) for one in np.random.SeedSequence(seed).generate_state(restarts) % 2**31)
    if isinstance(embeddings, Tensor):
        return [Clustering(labels, *lloyd(embeddings, classes, seed=one)) for one in seeds]
    return [Clustering(labels, *kmeans(embeddings, classes, seed=one)) for one in seeds]


class _Assignment(NamedTuple):
    nearest: NDArray[np.int64]
    """[N]: the nearest centre of each row."""
    distance: NDArray[np.float32]
    """[N]: its squared distance."""


def _assigned(points: NDArray[np.float32], centres: NDArray[np.float32]) -> _Assignment:
    distance, nearest = faiss.knn(points, centres, 1)
    return _Assignment(nearest[:, 0], distance[:, 0])


def _reassigned(
    points: NDArray[np.float32], last: _Assignment, before: NDArray[np.float32], centres: NDArray[np.float32]
) -> _Assignment:
    """The nearest of the centres, given those of the centres `before`, most of which stay as they are towards the end.

    A row whose centre has not changed can leave it only for one that has.
    """
    changed = (centres != before).any(1)
    if not changed.any():
        return last
    lost = changed[last.nearest]
    # Products of other sizes round otherwise; on small sets, where little is gained, results stay those of faiss.
    if len(points) * len(centres) < LARGE or changed.mean() + lost.mean() > 1:
        return _assigned(points, centres)
    among = _assigned(points, centres[changed])
    closer = among.distance < last.distance
    nearest = np.where(closer, np.flatnonzero(changed)[among.nearest], last.nearest)
    distance = np.where(closer, among.distance, last.distance)
    nearest[lost], distance[lost] = _assigned(points[lost], centres)
    return _Assignment(nearest, distance)


def _faiss_means(points: NDArray[np.float32], nearest: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """The mean of each cluster with the bits of faiss: summed in single precision in the order of the rows."""
    index = torch.from_numpy(nearest)
    sums = torch.zeros(classes, points.shape[1]).index_add_(0, index, torch.from_numpy(points))
    return (sums * torch.bincount(index, minlength=classes).float().reciprocal()[:, None]).numpy()


def _first_rows(rows: int, classes: int, seed: int) -> NDArray[np.int64]:
    """Which rows faiss starts from."""
    order = np.empty(rows, dtype=np.int32)
    faiss.rand_perm(faiss.swig_ptr(order), rows, seed + 1)  # type: ignore[attr-defined]
    return order[:classes].astype(np.int64)


def _nearest(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest centre of each row, [N], ties to the lower index, and its squared distance, [N]."""
    square, step = centres.square().sum(1), max(1, 2**26 // len(centres))
    found = [torch.addmm(square, some, centres.T, alpha=-2).min(1) for some in torch.split(points, step)]
    distance = torch.cat([one.values for one in found]) + points.square().sum(1)
    return torch.cat([one.indices for one in found]), distance


def _means(points: Tensor, assignment: Tensor, distance: Tensor, classes: int) -> Tensor:
    """The means [classes, dim] of the rows assigned to each; the farthest rows where none are."""
    # Sums by index would be added in any order on a GPU; rows sorted by cluster are added one after the other.
    ordered, order = assignment.sort(stable=True)
    size = torch.searchsorted(ordered, torch.arange(classes + 1, device=points.device)).diff()
    sums = torch.segment_reduce(points[order].double(), "sum", lengths=size, unsafe=True)
    means = (sums / size.clamp(min=1)[:, None]).float()
    empty = size == 0
    farthest = distance.argsort(descending=True, stable=True)[(empty.cumsum(0) - 1).clamp(min=0)]
    return torch.where(empty[:, None], points[farthest], means)
