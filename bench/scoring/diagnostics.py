"""Diagnostics: what an embedding space looks like, beside what it retrieves. No job stores them; one asks for them.

Each public function that takes `Embedded` is one, a number. The docstring begins with the name that readers see, its
source in brackets. None of them is a score: a space may be too compact as well as too loose for classes that it was
not trained on. So they stand in no leaderboard.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from bench.matrix.catalogue import entries
from bench.scoring.inputs import checked, numbered

__all__ = ["alignment", "diagnose", "distance_ratio", "rho_spectrum", "uniformity"]

CHUNK = 2**24
"""So many distances are held at a time."""


class Embedded(NamedTuple):
    """Embeddings on the unit sphere, and their classes."""

    points: Tensor
    """[N, dim], float64, L2-normalised; a row of zeros stays one."""
    classes: NDArray[np.int64]
    """[N]: 0 .. classes - 1."""


def diagnose(embeddings: Tensor | ArrayLike, labels: Tensor | ArrayLike) -> dict[str, float]:
    """Every diagnostic of embeddings [N, dim] with labels [N], by name; they are L2-normalised first.

    nan: it cannot be computed (no class has two images; fewer than two classes; fewer than two images). inf, of
    `rho_spectrum`: the embeddings do not use all dimensions. Time grows with the square of N, memory does not.
    Raises ValueError, in one sentence, for inputs that do not fit together or are not finite.
    """
    given = checked(embeddings, labels, None, None)
    classes, _ = numbered(given.labels, None)
    embedded = Embedded(F.normalize(given.points.double()), classes)
    return {name: entry.function()(embedded) for name, entry in entries("diagnostics").items()}


def alignment(embedded: Embedded) -> float:
    """Alignment (Wang, Isola, ICML 2020, arXiv 2005.10242).

    Mean squared Euclidean distance of two images of a class, over all such pairs, 0 to 4: low where classes are
    compact. There the pairs are two views of an image; here all pairs of a class count alike.
    """
    sizes, sums = _by_class(embedded)
    return _ratio(_of_pairs(embedded, sizes, sums).sum(), (sizes * (sizes - 1)).sum())


def uniformity(embedded: Embedded) -> float:
    """Uniformity (Wang, Isola, ICML 2020, arXiv 2005.10242).

    The logarithm of the mean of exp(-2 d²) over all pairs of different images, d their Euclidean distance; from -8 to
    0: low where the embeddings spread evenly over the sphere, 0 where all are the same.
    """
    count = len(embedded.points)
    if count < 2:
        return math.nan
    total = sum(float(torch.exp(-2 * square).sum()) for square in _squares(embedded.points))
    # Of an image with itself each has added 1.
    return min(0.0, math.log(max(total - count, math.ulp(0.0)) / (count * (count - 1))))


def distance_ratio(embedded: Embedded) -> float:
    """Intra/inter distance ratio (Roth, Milbich, Sinha, Gupta, Ommer, Cohen, ICML 2020, arXiv 2002.08473).

    Mean cosine distance of two images of a class, averaged over the classes, divided by the mean cosine distance of the
    means of two classes: low where classes are compact and apart. The means are normalised, and distances are cosine,
    as in the authors' code. A class of one image has no distance within; the authors' code gives it that of another.
    """
    sizes, sums = _by_class(embedded)
    several = sizes > 1
    within = _of_pairs(embedded, sizes, sums)[several] / (sizes * (sizes - 1))[several] / 2
    count, centres = len(sizes), F.normalize(sums)
    between = count * (count - 1) - (centres.sum(0).square().sum() - centres.square().sum())
    return _ratio(_ratio(within.sum(), several.sum()) * count * (count - 1), between)


def rho_spectrum(embedded: Embedded) -> float:
    """Spectral decay rho (Roth, Milbich, Sinha, Gupta, Ommer, Cohen, ICML 2020, arXiv 2002.08473).

    Kullback-Leibler divergence of equal shares from the singular values of the embeddings, divided by their sum: KL(U
    || S). 0 where all directions vary alike; high where few do. The embeddings are not centred and all min(N, dim)
    singular values count, as in the authors' code at its setting 1. inf where one is 0 up to rounding.
    """
    values = torch.linalg.svdvals(embedded.points)
    share = values / values.sum()
    if not (values > values[0] * max(embedded.points.shape) * torch.finfo(values.dtype).eps).all():
        return math.inf
    return max(0.0, -float(share.log().mean()) - math.log(len(share)))


def _by_class(embedded: Embedded) -> tuple[Tensor, Tensor]:
    """How many images each class has [classes], and the sums of their embeddings [classes, dim]."""
    index = torch.from_numpy(embedded.classes).to(embedded.points.device)
    sizes = torch.bincount(index)
    empty = embedded.points.new_zeros(len(sizes), embedded.points.shape[1])
    return sizes, empty.index_add(0, index, embedded.points)


def _of_pairs(embedded: Embedded, sizes: Tensor, sums: Tensor) -> Tensor:
    """The sum of squared distances over the ordered pairs of a class, [classes]."""
    index = torch.from_numpy(embedded.classes).to(embedded.points.device)
    square = embedded.points.square().sum(1)
    own = square.new_zeros(len(sizes)).index_add(0, index, square)
    return (2 * (sizes * own - sums.square().sum(1))).clamp(min=0)


def _squares(points: Tensor) -> Iterator[Tensor]:
    """Squared Euclidean distances of all pairs, a chunk of rows at a time."""
    square = points.square().sum(1)
    for some in torch.split(torch.arange(len(points)), max(1, CHUNK // len(points))):
        yield (square[some][:, None] + square - 2 * points[some] @ points.T).clamp(min=0)


def _ratio(above: Tensor | float, below: Tensor | float) -> float:
    return float(above) / float(below) if float(below) > 0 else math.nan
