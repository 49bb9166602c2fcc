"""Queries and their candidates, made ready for a search by Euclidean or by hyperbolic distance.

In the Poincaré ball of radius 1, x and y are 2 arsinh √(|x - y|² / ((1 - |x|²) (1 - |y|²))) apart. For one query x the
candidates y are in the order of k = |x - y|² / (1 - |y|²), and so in that of the squared Euclidean distances of

    (x, -(1 + |x|²) / 2, 0)  from  (y, 1, z) / (1 - |y|²),

where z gives all candidates the same length: these are k and what does not depend on y. So one search serves both.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from losses.ensembles import Distance

__all__ = ["Groups", "Space", "exact_squares", "search_space"]


class Groups(NamedTuple):
    """Candidates grouped by equal vectors, G of them."""

    offered: Tensor
    """[G, width]: the vectors as they are searched, in single precision."""
    members: NDArray[np.int64]
    """[N]: indices of candidates, group by group, ascending within each."""
    start: NDArray[np.int64]
    """[G]: where the members of each group start."""
    size: NDArray[np.int64]
    """[G]: how many there are."""


class Space(NamedTuple):
    """Queries and candidates, as given and as they are searched."""

    queries: Tensor
    """[Q, dim]."""
    pool: Tensor
    """[N, dim]."""
    wanted: Tensor
    """[Q, width]: the queries as they are searched, in single precision."""
    offered: Tensor
    """[N, width]: the candidates as they are searched, in single precision."""
    slack: Tensor
    """[Q, 1]: how far a squared distance in single precision may be from that of the vectors as given."""
    alone: bool
    """Are the queries each other's candidates?"""
    groups: Callable[[], Groups]
    """The candidates by equal vectors; made when first asked for."""
    gaps: Tensor | None = None
    """[N]: 1 - |y|² of the candidates y, in double precision; None where distances are Euclidean."""

    def squares(self, queries: Tensor, row: Tensor, index: Tensor) -> Tensor:
        """What orders the candidates of a query, exactly [pairs]: squared distances, or k where they are hyperbolic.

        From queries[row], which are some of the space's own, to the candidates `index`.
        """
        found = exact_squares(queries, self.pool, row, index)
        return found if self.gaps is None else found / self.gaps[index]

    def distances(self, rows: slice, squares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distances [rows, kept] of the queries at these rows, from what `squares` gave."""
        if self.gaps is None:
            return np.sqrt(squares)
        gaps = _gaps(self.queries[rows]).cpu().numpy()[:, None]
        return np.asarray(2 * np.arcsinh(np.sqrt(squares / gaps)))


def search_space(queries: Tensor, gallery: Tensor | None, *, distance: Distance = "euclidean") -> Space:
    """Queries [Q, dim] and their candidates [N, dim], or without these each other's, made ready for the search.

    They are moved to the origin where an offset they share would cost single precision its digits.
    """
    queries = queries.detach()
    pool = queries if gallery is None else gallery.detach()
    asked, offered, gaps = queries, pool, None
    if distance == "hyperbolic":
        gaps = _gaps(pool)
        asked, offered = _lifted_queries(queries), _lifted(pool, gaps)
    mean = offered.mean(0, dtype=torch.float64)
    moved = bool(mean.square().sum() > 0.9 * _lengths(offered).square().mean())

    def single(points: Tensor) -> Tensor:
        return (points - mean if moved else points).float().contiguous()

    wanted = single(asked)
    searched = wanted if offered is asked else single(offered)
    groups = cache(lambda: _groups(pool, searched))
    return Space(queries, pool, wanted, searched, _slack(wanted, searched), gallery is None, groups, gaps)


def _gaps(points: Tensor) -> Tensor:
    """1 - |y|² of points y [N, dim], [N], in double precision, with the same bits on any device."""
    return 1 - _row_sums(points.double().square())


def _lifted_queries(points: Tensor) -> Tensor:
    """[Q, dim + 2], in double precision."""
    wide = points.double()
    ends = (wide.square().sum(1, keepdim=True) + 1) / -2
    return torch.cat([wide, ends, torch.zeros_like(ends)], 1)


def _lifted(points: Tensor, gaps: Tensor) -> Tensor:
    """[N, dim + 2], in double precision, all of the same length."""
    raised = torch.cat([points.double(), torch.ones_like(gaps)[:, None]], 1) / gaps[:, None]
    square = raised.square().sum(1, keepdim=True)
    return torch.cat([raised, (square.max() - square).sqrt()], 1)


def exact_squares(queries: Tensor, pool: Tensor, row: Tensor, index: Tensor) -> Tensor:
    """Squared distances [pairs] in double precision from queries[row] to pool[index], of the vectors as given.

    Made of single steps in a fixed order, so that the bits are the same on any device and however many pairs there are.
    """
    # In one buffer, as to allocate it anew takes longer than the rest, and on a CPU as small as in `propose`.
    dim = queries.shape[1]
    step = max(1, (2**15 if queries.device.type == "cpu" else 2**24) // dim)
    ours, theirs = (points.new_empty((min(step, len(row)), dim)) for points in (queries, pool))
    gaps = torch.empty(ours.shape, dtype=torch.float64, device=queries.device)
    result = torch.empty(len(row), dtype=torch.float64, device=queries.device)
    for start in range(0, len(row), step):
        some = slice(start, start + step)
        count = len(row[some])
        torch.index_select(queries, 0, row[some], out=ours[:count])
        torch.index_select(pool, 0, index[some], out=theirs[:count])
        gap = gaps[:count].copy_(theirs[:count]).sub_(ours[:count])
        result[some] = _row_sums(gap.mul_(gap))
    return result


def _slack(queries: Tensor, pool: Tensor) -> Tensor:
    """How far off any squared distance to the pool may be, for each of the queries: [Q, 1].

    Let u be 2^-24 and g = n u / (1 - n u) with n = dim + 2. In whatever order dim numbers are summed, and with the
    additions that follow, |x|², |y|² and x·y are off by at most g|x|², g|y|² and g|x||y| (Higham, Accuracy and
    Stability of Numerical Algorithms, 2002, section 3.1). So |x|² - 2 x·y + |y|² is off by at most g(|x| + |y|)², and
    a sum of squared differences by no more. That x and y were rounded to single precision adds 2u(|x| + |y|)² and
    terms in u². With n = dim + 16 this is covered, and the rounding of what is compared with it too.
    """
    n = queries.shape[1] + 16
    share = n * 2.0**-24 / (1 - n * 2.0**-24)
    # Where torch may round the factors of a product, to 8 bits at worst, twice a product is off by 2^-6 of itself.
    share += 0 if torch.get_float32_matmul_precision() == "highest" else 2.0**-6
    reach = _lengths(queries) + _lengths(pool).max()
    # A product too small for single precision may be lost whole.
    return (share * reach.square() + 4 * n * torch.finfo(torch.float32).tiny)[:, None]


def _lengths(points: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(points, dim=1, dtype=torch.float64)
    return lengths


def _groups(points: Tensor, offered: Tensor) -> Groups:
    rows = points.cpu().contiguous().numpy()
    whole = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1])))[:, 0]
    _, group, size = np.unique(whole, return_inverse=True, return_counts=True)
    members, start = np.argsort(group, kind="stable"), np.cumsum(size) - size
    return Groups(offered[torch.from_numpy(members[start]).to(offered.device)], members, start, size)


def _row_sums(values: Tensor) -> Tensor:
    """Sums [rows] of values [rows, width], which are used up: the halves added to each other again and again."""
    left = values.shape[1]
    while left > 1:
        half = left // 2
        values[:, :half].add_(values[:, left - half : left])
        left -= half
    return values[:, 0]
