"""A loss in hyperbolic space, whose embeddings are compared by hyperbolic distance at test time too."""

import math
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.linalg import vector_norm

from losses.arguments import checked
from losses.ensembles import Distance
from losses.module import Loss
from losses.pairwise import distances, log_sum, pairs, unit
from losses.shape import Shape
from losses.tuned import Tuned

__all__ = ["hyperbolic"]

GUARD = 1e-5
"""What the authors keep denominators, and the argument of the inverse hyperbolic tangent, away from their limits by."""
INSIDE = 1 - 1e-3
"""The largest norm of a point, as a share of the radius of the ball."""
STEEPEST = 15.0
"""The largest argument of the hyperbolic tangent."""


@checked
def hyperbolic(
    shape: Shape,
    *,
    # Around the authors' 0.1 on the sphere and 0.2 in the ball.
    temperature: Annotated[float, Gt(0), Tuned(0.05, 1, log=True)] = 0.2,
    curvature: Annotated[float, Ge(0)] = 0.1,
    clip: Annotated[float, Gt(0)] | None = 2.3,
) -> nn.Module:
    """Hyperbolic cross-entropy (Ermolov, Mirvakhabova, Khrulkov, Sebe, Oseledets, CVPR 2022, arXiv 2203.10833).

    Embeddings are cut to the norm `clip` and mapped into the Poincaré ball of that `curvature` c (the paper's; the
    space curves by -c), by the exponential map at the origin. The images of each class, in batch order, are its views.
    For every two views a and b, one after the other, each class costs the cross-entropy of picking its view b, by a
    softmax of minus the distance over `temperature`, among the views a and b of all classes; the mean over the classes.
    The value is the sum over the ordered pairs of views, so it grows with the images per class. A class with fewer
    images has fewer views. The authors' code has 2 images per class, their commands for birds and cars 9.

    At test time the points of the ball, scaled to radius 1, are compared by hyperbolic distance. With `curvature` 0 all
    is on the sphere: cosine similarity in place of minus the distance, for which the paper's temperature is 0.1, and no
    clipping.

    Needs: P × K batches.
    """
    return _InBall(shape, _hyperbolic, curvature=curvature, temperature=temperature, clip=clip)


class _InBall(Loss):
    @property
    def distance(self) -> Distance:
        """By which distance what is read is compared."""
        return "hyperbolic" if self.settings["curvature"] else "euclidean"

    def readout(self, embeddings: Tensor) -> Tensor:
        """Points of the ball of radius 1, or of the sphere, [N, dim]."""
        curvature: float = self.settings["curvature"]
        points = ball_points(embeddings, curvature=curvature, clip=self.settings["clip"])
        return points * math.sqrt(curvature) if curvature else points


def ball_points(embeddings: Tensor, *, curvature: float, clip: float | None) -> Tensor:
    """Points [B, dim] of the Poincaré ball of radius 1/√curvature, or of the unit sphere where that is 0."""
    if not curvature:
        return unit(embeddings)
    if clip is not None:
        embeddings = embeddings * (clip / (_norms(embeddings) + GUARD)).clamp(max=1)
    reach = math.sqrt(curvature) * _norms(embeddings).clamp(min=GUARD)
    points = embeddings * (reach.clamp(max=STEEPEST).tanh() / reach)
    norms, most = _norms(points).clamp(min=GUARD), INSIDE / math.sqrt(curvature)
    return torch.where(norms > most, points * (most / norms), points)


def ball_distances(points: Tensor, *, curvature: float) -> Tensor:
    """Hyperbolic distances [B, B] of points [B, dim] of the ball, each slightly short, as in the authors' code."""
    # |u ⊖ v|² = |u - v|² / (1 - 2c u·v + c² |u|² |v|²).
    square, product = points.square().sum(1), points @ points.T
    scale = 1 - 2 * curvature * product + curvature**2 * square[:, None] * square
    found = math.sqrt(curvature) * distances(points) * scale.sqrt() / (scale + GUARD)
    # At the limit the gradient is that of the limit, not 0.
    found = found + (found.clamp(max=1 - GUARD) - found).detach()
    return 2 / math.sqrt(curvature) * found.atanh()


def _norms(points: Tensor) -> Tensor:
    norms: Tensor = vector_norm(points, dim=1, keepdim=True)
    return norms


def _hyperbolic(
    embeddings: Tensor, labels: Tensor, *, curvature: float, temperature: float, clip: float | None
) -> Tensor:
    points = ball_points(embeddings, curvature=curvature, clip=clip)
    near = -ball_distances(points, curvature=curvature) if curvature else points @ points.T
    return pairs_of_views(near / temperature, labels)


def pairs_of_views(logits: Tensor, labels: Tensor) -> Tensor:
    """The sum over ordered pairs of views of the mean cross-entropy, of logits [B, B]: a scalar, 0 without pairs."""
    positive, _ = pairs(labels)
    view = (labels[:, None] == labels).tril(-1).sum(1)
    alike = view[:, None] == view
    own = log_sum(logits, alike.clone().fill_diagonal_(False))
    cost = torch.logaddexp(_log_sums_by_view(logits, view, alike), own[:, None]) - logits
    # As many classes have both views as have the later one, which is the rarer.
    having = alike.sum(1)
    classes = torch.minimum(having[:, None], having)
    return (cost / classes).masked_fill(~positive, 0).sum()


def _log_sums_by_view(logits: Tensor, view: Tensor, alike: Tensor) -> Tensor:
    """Of logits [B, B], for each row and column: log of the sum of exp over the images of the column's view."""
    columns = view.expand_as(logits)
    lowest = torch.full_like(logits, -torch.inf)
    highest = lowest.scatter_reduce(1, columns, logits.detach(), "amax").gather(1, columns)
    sums = (logits - highest).exp() @ alike.to(logits.dtype)
    return highest + sums.log()
