"""The margin loss on triplets some of which push images of one class apart, so that it is not compressed too far."""

from typing import Annotated, Literal, NamedTuple

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn
from torch.nn import functional as F

from losses.arguments import checked
from losses.module import Loss
from losses.pairwise import distances, pairs, unit
from losses.shape import Shape
from losses.to_device import uniform
from losses.triplets import boundary, distance_weights, draws
from losses.tuned import Tuned

__all__ = ["rho_margin"]

CUTOFFS = (0.5, 1.4)
"""Nearer negatives count as the first number away; those at the second or beyond are not drawn, if there are others."""


class Costs(NamedTuple):
    """What each triplet [T] costs, before anything is averaged."""

    near: Tensor
    far: Tensor
    boundary: Tensor


@checked
def rho_margin(
    shape: Shape,
    *,
    rho: Annotated[float, Ge(0), Lt(1), Tuned(0, 0.4)] = 0.2,
    margin: Annotated[float, Ge(0)] = 0.2,
    # The paper compares 0.6 with 1.2.
    beta: Annotated[float, Gt(0), Tuned(0.6, 1.4)] = 1.2,
    learn_beta: Literal["no", "one", "class"] = "class",
    nu: Annotated[float, Ge(0)] = 0.0,
    per: Literal["triplet", "pair"] = "triplet",
) -> nn.Module:
    """Rho-regularised margin (Roth, Milbich, Sinha, Gupta, Ommer, Cohen, ICML 2020, arXiv 2002.08473).

    The margin loss (Wu, Manmatha, Smola, Krähenbühl, ICCV 2017) on one triplet per anchor: a positive, drawn evenly,
    and a negative, drawn as `margin` draws it, with the same cutoffs; the authors' code has no upper one. With
    probability `rho` the triplet becomes (anchor, anchor, positive): an image of the own class is pushed away, which
    keeps classes from being compressed to a few directions. An anchor that has no positive or no negative has no
    triplet. A positive costs what its distance exceeds beta - margin, a negative what it lacks to beta + margin;
    distances are the root of 1e-8 more than the square, of the L2-normalised embeddings, so that an anchor is 1e-4 away
    from itself. The sum is divided by the number of triplets that cost anything, as in the authors' code, or, `per`
    "pair", by that of their pairs that do, as in the paper. The boundary starts at `beta`; it is learned, one in all or
    one per class of the anchor, and `nu` times the sum of the triplets' boundaries is added, not divided by anything.

    Trains: the boundary beta, one per class unless `learn_beta` says otherwise.
    Needs: P × K batches.
    """
    return Loss(
        shape,
        _rho_margin,
        classes=shape.classes if learn_beta == "class" else None,
        beta=boundary(shape, beta, learn_beta, nu=nu),
        rho=rho,
        margin=margin,
        nu=nu,
        per=per,
    )


def rho_margin_loss(costs: Costs, *, nu: float = 0.0, per: str = "triplet") -> Tensor:
    """The loss of triplets that cost this, a scalar; parameters as in `rho_margin`."""
    total = (costs.near + costs.far).sum() / costly(costs, per=per).clamp(min=1)
    return total + nu * costs.boundary.sum()


def costly(costs: Costs, *, per: str = "triplet") -> Tensor:
    """How many triplets, or pairs in them, cost anything, a scalar."""
    near, far = costs.near > 0, costs.far > 0
    return (near | far).sum() if per == "triplet" else near.sum() + far.sum()


def triplet_costs(
    points: Tensor, labels: Tensor, triplets: Tensor, beta: Tensor, *, margin: float = 0.2, kept: Tensor | None = None
) -> Costs:
    """What triplets of points [B, dim] with labels [B] cost.

    Args:
        points: taken as they are.
        labels: of the points.
        triplets: [T, 3], the rows of anchor, positive and negative; where the first two are the same, the third may
            be of their class.
        beta: the boundary, [classes], or [1] for all.
        margin: the margin on either side of it.
        kept: a mask [T]; the others cost nothing, and their boundary is 0. None: all are kept.
    """
    anchors, positives, negatives = triplets.unbind(1)
    boundary = beta[labels[anchors] if len(beta) > 1 else torch.zeros_like(anchors)]
    near = F.relu(_apart(points[anchors], points[positives]) - boundary + margin)
    far = F.relu(boundary - _apart(points[anchors], points[negatives]) + margin)
    found = Costs(near, far, boundary)
    return found if kept is None else Costs(*(each.masked_fill(~kept, 0) for each in found))


def drawn_triplets(points: Tensor, labels: Tensor, *, rho: float) -> tuple[Tensor, Tensor]:
    """A triplet for every row of unit vectors [B, dim] with labels [B]: [B, 3], and a mask [B] of those there are."""
    positive, negative = pairs(labels)
    weights = distance_weights(distances(points), negative, dim=points.shape[1], cutoffs=CUTOFFS)
    anchors = torch.arange(len(labels), device=labels.device)
    drawn = draws(weights, (anchors == 0).expand(weights.shape))  # once for each row
    mates = uniform(*positive.shape, device=points.device).masked_fill(~positive, -1).argmax(1)
    pushed = uniform(len(labels), device=points.device) < rho
    positives, negatives = anchors.where(pushed, mates), mates.where(pushed, drawn.argmax(1))
    return torch.stack([anchors, positives, negatives], 1), positive.any(1) & drawn.any(1)


def _rho_margin(
    embeddings: Tensor, labels: Tensor, *, beta: Tensor, rho: float, margin: float, nu: float, per: str
) -> Tensor:
    points = unit(embeddings)
    # In an order of the images' own, what is drawn does not depend on their order in the batch.
    order = points[:, 0].argsort()
    points, labels = points[order], labels[order]
    with torch.no_grad():
        triplets, kept = drawn_triplets(points, labels, rho=rho)
    return rho_margin_loss(triplet_costs(points, labels, triplets, beta, margin=margin, kept=kept), nu=nu, per=per)


def _apart(points: Tensor, others: Tensor) -> Tensor:
    return ((points - others).square().sum(1) + 1e-8).sqrt()
