"""Model ensembles: what models trained apart have stored, fused without training.

Each public function is one, `(members, *, parameters)`. It gives new embeddings, or the order of the candidates
[Q, depth] of every query, nearest first: indices into the gallery, or without one into the queries, the query itself
left out. It never sees a label. What it learns, it learns from the training images, never from those of the test. One
member alone is ordered as it is; the files `fusion_*.py` hold what is done at test time, which changes its order too.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Le
from numpy.typing import NDArray

from bench.scoring.ranking import blocks
from losses.ensembles import Distance
from losses.shape import Unsuitable

__all__ = ["concatenate", "mean_similarity", "pca", "rank_fusion"]

CELLS = 2**21
"""How many scores of candidates a rank fusion holds at a time."""


class Stored(NamedTuple):
    """The embeddings of one model, or of several fused, as they are compared."""

    queries: NDArray[np.float32]
    """[Q, dim]."""
    gallery: NDArray[np.float32] | None
    """[N, dim]; None where the queries are searched among themselves."""
    training: NDArray[np.float32] | None
    """[M, dim], of training images, the same for every member; None where none were stored."""

    @property
    def distance(self) -> Distance:
        """By which they are compared."""
        return "euclidean"


class InBall(Stored):
    """The same where they are points of the Poincaré ball."""

    @property
    def distance(self) -> Distance:
        """By which they are compared."""
        return "hyperbolic"


def concatenate(members: Sequence[Stored]) -> Stored:
    """Concatenation of the members' embeddings, each L2-normalised.

    From [N, d_i] of each member to [N, sum of d_i], rows of norm 1, so that squared distances are the mean of the
    members'. A row of zeros stays zero. One member alone stays as it is. Raises ValueError where there is no member or
    they do not hold the same images, and Unsuitable where one of several is not compared by Euclidean distance.
    """
    check_same_images(members)
    return members[0] if len(members) == 1 else side_by_side(members, np.ones(len(members)))


def mean_similarity(members: Sequence[Stored]) -> Stored:
    """Mean of similarities, each over its spread (Fox, Shaw, TREC-2 1994; Montague, Aslam, CIKM 2001).

    The sum of scores is Fox and Shaw's, the division by the standard deviation Montague and Aslam's, there over the
    scores of one query, here over the pairs of different training images, one number per member: a member whose
    similarities hardly vary has its say too. The plain mean, without the division, would order as `concatenate` does;
    subtracting the mean similarity as well would change no order. As inner products add up, this is a concatenation:
    L2-normalised members, each divided by the square root of its standard deviation, rows scaled to norm 1.

    A member whose similarities do not vary in single precision tells no image from another and is left out. One member
    alone stays as it is. Raises ValueError where `concatenate` does, and Unsuitable where a member stored no training
    images or no member's similarities vary.
    """
    check_same_images(members)
    spreads = np.array([_spread(unit_rows(training)) for training in training_images(members)])
    if len(members) == 1:
        return members[0]
    varied = spreads > np.finfo(np.float32).eps
    if not varied.any():
        raise Unsuitable("no member's similarities vary over the training images: train them anew, on more images.")
    kept = [one for one, varies in zip(members, varied, strict=True) if varies]
    return side_by_side(kept, spreads[varied] ** -0.5)


def pca(members: Sequence[Stored], *, dim: Annotated[int, Ge(1)]) -> Stored:
    """Principal components of the concatenation (Hotelling, J. Educ. Psychol. 1933; Jégou, Chum, ECCV 2012).

    What `concatenate` gives (one member alone: its embeddings as they are), reduced to the `dim` directions in which
    the training images vary most: [N, dim]. Neither whitened, as Jégou and Chum do, nor normalised again, so distances
    are those within that subspace. The mean is not subtracted, which changes no distance and leaves a row of zeros
    zero. Raises ValueError where `concatenate` does and for a `dim` beyond the width of the concatenation, and
    Unsuitable where a member stored no training images or there are too few of them for so many directions.
    """
    check_same_images(members)
    check_by_angle(members)
    training_images(members)
    whole = concatenate(members)
    (training,) = training_images([whole])
    if dim > training.shape[1]:
        raise ValueError(f"dim = {dim} is more than the {training.shape[1]} dimensions of the members: lower it.")
    if dim >= len(training):
        raise Unsuitable(f"{len(training)} training images are too few to find dim = {dim} directions: lower it.")
    components, _ = principal_components(training, dim)
    return each_part([whole], lambda parts: (parts[0] @ components).astype(np.float32))


def rank_fusion(
    members: Sequence[Stored],
    *,
    k: Annotated[float, Ge(0), Le(1e6)] = 60.0,
    depth: Annotated[int, Ge(1)] = 1000,
) -> NDArray[np.int64]:
    """Reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009).

    A candidate scores the sum over members of 1 / (k + rank), rank from 1; beyond `depth` a member gives it nothing.
    Returns the order [Q, depth], by descending score, ties by lower index; fewer columns where there are fewer
    candidates. Each member ranks by its own distance, Euclidean or hyperbolic. Memory is that of the result and of a
    few queries at a time. Raises ValueError where `concatenate` does.
    """
    check_same_images(members)
    queries, gallery, _ = members[0]
    pool = len(queries if gallery is None else gallery)
    order = np.empty((len(queries), min(depth, pool - (gallery is None))), dtype=np.int64)
    searches = [_search(one, depth, chunk=max(1, CELLS // pool)) for one in members]
    for found in zip(*searches, strict=True):
        order[found[0][0]] = _by_reciprocal_rank([indices for _, indices in found], pool, k)
    return order


def check_same_images(members: Sequence[Stored]) -> None:
    """Raises ValueError where there is no member or they do not hold the same images."""
    counts = {
        "queries": {len(one.queries) for one in members},
        "gallery images": {0 if one.gallery is None else len(one.gallery) for one in members},
        "training images": {len(one.training) for one in members if one.training is not None},
    }
    for images, found in counts.items():
        if not members or len(found) > 1:
            raise ValueError(
                f"a model ensemble fuses embeddings of the same images, not of {sorted(found)} {images}: check them."
            )


def check_by_angle(members: Sequence[Stored]) -> None:
    """Raises Unsuitable where the angles of a member's embeddings do not say how far apart they are."""
    for number, one in enumerate(members, 1):
        if one.distance != "euclidean":
            raise Unsuitable(
                f"member {number} of {len(members)} is compared by {one.distance} distance, which does not outlast "
                "weighing and averaging of vectors: take rank_fusion, or leave it out."
            )


def training_images(members: Sequence[Stored]) -> list[NDArray[np.float32]]:
    """Those of every member. Raises Unsuitable where one stored none."""
    found = [one.training for one in members if one.training is not None]
    if len(found) < len(members):
        lacking = [number for number, one in enumerate(members, 1) if one.training is None]
        raise Unsuitable(f"member {lacking[0]} of {len(members)} has no training embeddings stored: run it again.")
    return found


def each_part(
    members: Sequence[Stored], fuse: Callable[[Sequence[NDArray[np.float32]]], NDArray[np.float32]]
) -> Stored:
    """Queries, gallery and training images, each fused alike; None where a member has none."""
    gallery = [one.gallery for one in members if one.gallery is not None]
    training = [one.training for one in members if one.training is not None]
    return Stored(
        fuse([one.queries for one in members]),
        fuse(gallery) if gallery else None,
        fuse(training) if len(training) == len(members) else None,
    )


def side_by_side(members: Sequence[Stored], weights: NDArray[np.float64]) -> Stored:
    """The members' rows, each of norm 1, times the member's weight, next to each other, and of norm 1 again.

    Raises Unsuitable for a member that `check_by_angle` refuses.
    """
    check_by_angle(members)

    def join(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        weighted = [weight * unit_rows(part) for weight, part in zip(weights, parts, strict=True)]
        return unit_rows(np.concatenate(weighted, axis=1)).astype(np.float32)

    return each_part(members, join)


def unit_rows(embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows [N, dim] of norm 1; those of zeros stay so."""
    wide = np.asarray(embeddings, dtype=np.float64)
    norms: NDArray[np.float64] = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.maximum(norms, np.finfo(np.float64).tiny)


def _spread(rows: NDArray[np.float64]) -> float:
    """Standard deviation of the inner products of different rows [M, dim], without forming them: M dim² steps.

    With m the mean row, y = x - m and b = y·m, an inner product is |m|² plus y_i·y_j + b_i + b_j. Over all i and j the
    latter sum to 0 and their squares to |YᵀY|² + 2 M |b|²; the pairs of a row with itself are then taken out.
    """
    # Moments of the inner products themselves would lose a small spread in the digits of their mean.
    mean = rows.mean(0)
    centred = rows - mean
    along = centred @ mean
    own = np.square(centred).sum(1) + 2 * along
    pairs = max(len(rows) * (len(rows) - 1), 1)
    square = np.square(centred.T @ centred).sum() + 2 * len(rows) * np.square(along).sum() - np.square(own).sum()
    return float(np.sqrt(max(square / pairs - (own.sum() / pairs) ** 2, 0)))


def principal_components(points: NDArray[np.float32], dim: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The first `dim` of points [M, width]: directions as columns [width, dim], and the variances [dim] along them.

    By descending variance, each direction with its largest entry positive.
    """
    centred = points - points.mean(0, dtype=np.float64)
    scatter, directions = np.linalg.eigh(centred.T @ centred)
    directions, variances = directions[:, : -dim - 1 : -1], scatter[: -dim - 1 : -1] / len(points)
    largest = np.take_along_axis(directions, np.abs(directions).argmax(0)[None], axis=0)
    return directions * np.copysign(1, largest), variances


def _search(member: Stored, depth: int, *, chunk: int) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    gallery = None if member.gallery is None else torch.tensor(member.gallery)
    return blocks(torch.tensor(member.queries), gallery, depth=depth, chunk=chunk, distance=member.distance)


def _by_reciprocal_rank(found: Sequence[NDArray[np.int64]], pool: int, k: float) -> NDArray[np.int64]:
    """The fused order [rows, depth] of what each member found in a pool of that size, [rows, depth]."""
    rows, depth = found[0].shape
    cells = np.stack(found) + pool * np.arange(rows)[:, None]
    shares = np.broadcast_to((k + 1) / (k + np.arange(1, depth + 1)), cells.shape)
    scores = np.bincount(cells.ravel(), shares.ravel(), minlength=rows * pool).reshape(rows, pool)
    # On a grid, sums that are equal on paper are equal whatever they were added up from. Score and index together are
    # one whole number, to be sorted without regard to where it stood.
    grid = min(2.0**40, 2.0**62 / (len(found) * pool))
    keys = np.arange(pool) - pool * np.rint(scores * grid).astype(np.int64)
    keys.partition(depth - 1, axis=1)
    return np.sort(keys[:, :depth], axis=1) % pool
