"""Losses over the triplets of a batch: an anchor, an image of its class, an image of another."""

import math
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn
from torch.nn import functional as F

from losses.arguments import checked
from losses.batch_checks import exact, whole_labels
from losses.module import Loss
from losses.pairwise import References, distances, mean_of, pairs, single, unit
from losses.shape import Shape
from losses.to_device import uniform
from losses.tuned import Tuned

__all__ = ["dynamic_soft_margin", "margin", "triplet"]


@checked
def triplet(
    shape: Shape,
    *,
    margin: Annotated[float, Gt(0), Tuned(0.05, 0.5)] = 0.2,
    mining: Literal["semihard", "hard", "all", "batch_hard", "easy_positive"] = "semihard",
    band: Annotated[float, Gt(0)] | None = None,
    squared: bool = True,
    normalize: bool = True,
) -> nn.Module:
    """Triplet (FaceNet: Schroff, Kalenichenko, Philbin, CVPR 2015, arXiv 1503.03832).

    The mean of max(0, margin - t), t = d(anchor, negative) - d(anchor, positive), over the triplets kept by `mining`:
    "semihard" 0 < t <= band, "hard" t <= 0, "all" t <= band, where `band` is the margin unless it is given and less.
    "batch_hard" (Hermans, Beyer, Leibe, arXiv 1703.07737) takes the furthest positive and the nearest negative of
    every anchor that has both, "easy_positive" (Xuan, Stylianou, Pless, WACV 2020) the nearest positive instead.
    Distances are squared Euclidean as in the paper, or Euclidean without `squared`, of the L2-normalised embeddings,
    or, without `normalize`, of the embeddings as given. Memory grows with the square of the batch, not with the number
    of triplets.

    Needs: P × K batches.
    """
    return Loss(shape, _triplet, margin=margin, mining=mining, band=band, squared=squared, normalize=normalize)


@checked
def margin(
    shape: Shape,
    *,
    margin: Annotated[float, Ge(0), Tuned(0.05, 0.5)] = 0.2,
    # Roth et al. (ICML 2020) compare 0.6 with 1.2.
    beta: Annotated[float, Gt(0), Tuned(0.6, 1.4)] = 1.2,
    learn_beta: Literal["no", "one", "class"] = "class",
    nu: Annotated[float, Ge(0)] = 0.0,
    mining: Literal["distance_weighted", "all"] = "distance_weighted",
    cutoff: Annotated[float, Gt(0), Lt(2)] = 0.5,
    nonzero_loss_cutoff: Annotated[float, Gt(0), Le(2)] = 1.4,
) -> nn.Module:
    """Margin (Wu, Manmatha, Smola, Krähenbühl, ICCV 2017, arXiv 1706.07567).

    A positive pair costs what its distance exceeds beta - margin, a negative one what it lacks to beta + margin; the
    sum over the triplets of `mining` is divided by the number of pairs in them that cost anything. Euclidean distances
    of the L2-normalised embeddings. The boundary starts at `beta`; it is learned, one in all or one per class of the
    anchor as in the authors' code (at learning rate 0.1 there), and `nu` times the boundary is added to each triplet.
    Of one boundary in all, pytorch-metric-learning adds `nu` times the boundary once, not divided by anything.

    "all" takes all triplets. "distance_weighted" draws one negative at random for each positive of an anchor, with a
    weight that evens out the distances on the sphere: nearer ones count as `cutoff` away, and those at
    `nonzero_loss_cutoff` or beyond, which cost nothing while beta is at its start, are not drawn. An anchor that has no
    others draws among all its negatives; pytorch-metric-learning drops it with its positives, and in single precision
    loses further anchors, whose weights all round to 0.

    Trains: the boundary beta, one per class unless `learn_beta` says otherwise.
    Needs: P × K batches.
    """
    cutoffs = (cutoff, nonzero_loss_cutoff) if mining == "distance_weighted" else None
    return Loss(
        shape,
        _margin,
        classes=shape.classes if learn_beta == "class" else None,
        beta=boundary(shape, beta, learn_beta, nu=nu),
        margin=margin,
        nu=nu,
        cutoffs=cutoffs,
    )


def boundary(shape: Shape, beta: float, learn_beta: str, *, nu: float) -> Tensor:
    """The boundary of `margin`, [classes] or [1]: a parameter where it is learned.

    Raises:
        ValueError: `nu` weighs one that is not.
    """
    if learn_beta == "no" and nu:
        raise ValueError("nu weighs a boundary that is learned: set nu = 0, or learn_beta to one or class.")
    start = torch.full((shape.classes if learn_beta == "class" else 1,), beta)
    return start if learn_beta == "no" else nn.Parameter(start)


@checked
def dynamic_soft_margin(
    shape: Shape, *, bins: Annotated[int, Ge(2)] = 512, momentum: Annotated[float, Gt(0), Le(1)] = 0.01
) -> nn.Module:
    """Dynamic soft margin (Zhang, Rusinkiewicz, ICCV 2019).

    The mean of F(t) · t, t = d(anchor, positive) - d(anchor, negative), over all positive pairs, each with the negative
    that is nearest to either of the two (as in HardNet). The weight F(t), a constant in the gradient, is the share of
    recent triplets that were at most as hard: from a running histogram of t over -2 to 2 in which this batch weighs
    `momentum`. Euclidean distances of the L2-normalised embeddings. The value may be negative. The authors seek the
    negative among the anchors and positives of the batch only, one pair per class; here it may be any image.

    pytorch-metric-learning takes all triplets, which needs memory for a list of them, weighs a batch by their number,
    so that the momentum has hardly any effect, lets gradients into the weights, and fails for t near 2.

    Needs: P × K batches.
    """
    return _DynamicSoftMargin(shape.dim, bins, momentum)


def _triplet(
    embeddings: Tensor,
    labels: Tensor,
    references: References | None = None,
    *,
    margin: float,
    mining: str,
    band: float | None,
    squared: bool,
    normalize: bool,
) -> Tensor:
    scaled = unit if normalize else single
    points = scaled(embeddings)
    distance = distances(points, scaled(references.embeddings) if references else points, squared=squared)
    positive, negative = pairs(labels, references)
    if mining in ("batch_hard", "easy_positive"):
        return _one_each(distance, positive, negative, margin=margin, mining=mining)
    low, high = gaps(margin, mining, band)
    # A sum over triplets is linear in the distances, so it is enough to count how often each of them occurs.
    with torch.no_grad():
        as_positive, as_negative = occurrences(distance, positive, negative, low=low, high=high)
        kept = as_positive.sum()
    total = margin * kept + ((as_positive - as_negative) * distance).sum()
    return total / kept.clamp(min=1)


def gaps(margin: float, mining: str, band: float | None) -> tuple[float, float]:
    """Which triplets a mining keeps: those whose negative is further than their positive by more than the first number.

    And by the second at most.
    """
    widest = margin if band is None else min(band, margin)
    return 0.0 if mining == "semihard" else -math.inf, 0.0 if mining == "hard" else widest


def _one_each(distance: Tensor, positive: Tensor, negative: Tensor, *, margin: float, mining: str) -> Tensor:
    """Mean over the anchors that have both, of one positive and the nearest negative."""
    near, far = distance.masked_fill(~positive, torch.inf), distance.masked_fill(~positive, -torch.inf)
    chosen = near.amin(1) if mining == "easy_positive" else far.amax(1)
    nearest = distance.masked_fill(~negative, torch.inf).amin(1)
    return mean_of(F.relu(margin + chosen - nearest), positive.any(1) & negative.any(1))


def occurrences(
    distance: Tensor, positive: Tensor, negative: Tensor, *, low: float, high: float
) -> tuple[Tensor, Tensor]:
    """In how many kept triplets each distance [B, R] stands as anchor to positive, and as anchor to negative.

    A negative is kept with a run of its anchor's positives in order of distance. Found once, the run counts for both
    sides: were each side to find its own, rounding could tear a triplet apart.
    """
    # Far fewer pairs are positive than negative, so order these: a row of them is mostly infinite, and soon sorted.
    positives, order = distance.masked_fill(~positive, torch.inf).sort(1)
    others = distance.masked_fill(~negative, torch.inf)
    first = torch.searchsorted(positives, others - high)
    last = torch.searchsorted(positives, others - low)
    ends = distance.new_zeros(len(distance), distance.shape[1] + 1)  # the last for what is not a number
    ends = ends.scatter_add(1, first, torch.ones_like(distance)).scatter_add(1, last, -torch.ones_like(distance))
    return torch.empty_like(distance).scatter(1, order, ends.cumsum(1)), (last - first).to(distance.dtype)


def _margin(
    embeddings: Tensor,
    labels: Tensor,
    references: References | None = None,
    *,
    beta: Tensor,
    margin: float,
    nu: float,
    cutoffs: tuple[float, float] | None,
) -> Tensor:
    points = unit(embeddings)
    if cutoffs:
        # In an order of the images' own, what is drawn does not depend on their order in the batch.
        order = points[:, 0].argsort()
        points, labels = points[order], labels[order]
        references = references and references._replace(own=references.own[order])
    distance = distances(points, unit(references.embeddings) if references else points)
    with torch.no_grad():
        counts = _drawn(distance, points.shape[1], *pairs(labels, references), cutoffs=cutoffs)
    boundary = beta[labels if len(beta) > 1 else labels * 0][:, None]
    near, far = F.relu(distance - boundary + margin), F.relu(boundary - distance + margin)
    as_positive, as_negative = counts
    costly = (as_positive * (near > 0) + as_negative * (far > 0)).sum()
    total = (as_positive * near + as_negative * far).sum() + nu * (as_positive * boundary).sum()
    return total * (costly > 0) / costly.clamp(min=1)


def _drawn(
    distance: Tensor, dim: int, positive: Tensor, negative: Tensor, *, cutoffs: tuple[float, float] | None
) -> tuple[Tensor, Tensor]:
    """In how many triplets each distance [B, R] stands as anchor to positive, and as anchor to negative."""
    if cutoffs is None:
        return positive * negative.sum(1, keepdim=True), negative * positive.sum(1, keepdim=True)
    weights = distance_weights(distance, negative, dim=dim, cutoffs=cutoffs)
    kept = positive & negative.any(1, keepdim=True)
    return kept, draws(weights, kept)


def distance_weights(distance: Tensor, negative: Tensor, *, dim: int, cutoffs: tuple[float, float]) -> Tensor:
    """Chance of each negative to be drawn for its row, [B, R]; a row sums to 1, or to 0 if it has no negative.

    Inverse to how many points of a sphere in `dim` dimensions lie at its Euclidean distance; `cutoffs`: the distance
    as which nearer ones count, and the one from which on they have no chance, unless the row has no nearer negative.
    """
    near = negative & (distance < cutoffs[1])
    clamped = distance.clamp(min=cutoffs[0])
    # One minus a quarter of the square is 0 across the sphere, where the density is 0.
    height = (1 - clamped.square() / 4).clamp(min=torch.finfo(distance.dtype).eps)
    log_weights = (2 - dim) * clamped.log() + (3 - dim) / 2 * height.log()
    some = near.any(1, keepdim=True)
    log_weights = log_weights.where(some, 0).masked_fill(~near.where(some, negative), -torch.inf)
    return log_weights.softmax(1).masked_fill(~negative, 0)


def draws(weights: Tensor, times: Tensor) -> Tensor:
    """How often each column is drawn [B, R], by `weights` [B, R], a row as often as its mask `times` [B, R] is true."""
    edges = weights.cumsum(1)
    places = uniform(*weights.shape, device=edges.device).to(edges) * edges[:, -1:]
    drawn = torch.searchsorted(edges, places.masked_fill(~times, 0), right=True).clamp(max=weights.shape[1] - 1)
    return torch.zeros_like(weights).scatter_add(1, drawn, times.to(weights.dtype)).masked_fill(weights == 0, 0)


class _DynamicSoftMargin(nn.Module):
    histogram: Tensor

    def __init__(self, dim: int, bins: int, momentum: float) -> None:
        super().__init__()
        self.dim = dim
        self.bins = bins
        self.momentum = momentum
        self.register_buffer("histogram", torch.zeros(bins))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        labels = whole_labels(embeddings, labels, dim=self.dim)
        with exact(embeddings):
            distance = distances(unit(embeddings))
            positive, negative = pairs(labels)
            kept = positive & negative.any(1, keepdim=True)
            nearest = distance.masked_fill(~negative, torch.inf).amin(1)
            hardness = distance - torch.minimum(nearest[:, None], nearest)
            return mean_of(self.weights(hardness.detach(), kept) * hardness, kept)

    def extra_repr(self) -> str:
        """Its settings."""
        return f"bins={self.bins}, momentum={self.momentum}"

    def _get_name(self) -> str:
        return "dynamic_soft_margin"

    def weights(self, hardness: Tensor, kept: Tensor) -> Tensor:
        """Share of recent triplets that were at most as hard, [B, B]; in training, after the kept ones are recorded."""
        place = ((hardness + 2) * ((self.bins - 1) / 4)).clamp(0, self.bins - 1)
        step = place.floor().long().clamp(min=0)
        if self.training:
            self.record(place - step, step, kept.to(place.dtype))
        histogram = single(self.histogram).to(place)
        return (histogram.cumsum(0) / histogram.sum().clamp(min=torch.finfo(place.dtype).tiny))[step]

    def record(self, way: Tensor, step: Tensor, kept: Tensor) -> None:
        """Moves the histogram towards the kept triplets, shared by the two ends of the step they are on."""
        ends = torch.stack([step, (step + 1).clamp(max=self.bins - 1)]).flatten()
        shares = torch.stack([(1 - way) * kept, way * kept]).flatten()
        counts = way.new_zeros(self.bins).scatter_add(0, ends, shares)
        old, total = single(self.histogram).to(way), counts.sum()
        first = (old.sum() == 0).to(way.dtype)
        momentum = (total > 0) * (first + (1 - first) * self.momentum)
        self.histogram = (1 - momentum) * old + momentum * counts / total.clamp(min=1)
