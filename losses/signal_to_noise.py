"""Triplets by the signal-to-noise distance, which differs with the direction; nothing is trained."""

import math
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn import functional as F

from losses.arguments import checked
from losses.module import Loss
from losses.pair import noise_to_signal
from losses.pairwise import References, pairs, single, unit
from losses.shape import Shape
from losses.triplets import occurrences
from losses.tuned import Tuned

__all__ = ["signal_to_noise_triplet"]


@checked
def signal_to_noise_triplet(
    shape: Shape,
    *,
    margin: Annotated[float, Gt(0), Tuned(0.05, 0.5)] = 0.2,
    zero_mean: Annotated[float, Ge(0)] = 0.005,
    per: Literal["costly", "all"] = "costly",
    normalize: bool = True,
) -> nn.Module:
    """Signal-to-noise triplet (Yuan, Deng, Tang, Tang, Chen, CVPR 2019, arXiv 1904.02616).

    The distance from an anchor is the variance, over coordinates, of the difference, divided by the variance of the
    anchor: it differs with the direction. Every triplet costs max(0, d(anchor, positive) - d(anchor, negative) +
    margin); the sum is divided by the number of triplets that cost anything, as in later code, or, `per` "all", by that
    of all triplets, as in the paper. `zero_mean` weighs the paper's regulariser, the absolute sum of the anchor's
    coordinates, averaged over the triplets; of the embeddings that the distances are taken of. Embeddings are
    L2-normalised first, as in later code, or, without `normalize`, taken as given. Where no triplet costs anything,
    the regulariser alone is left; later code is not a number there. Memory grows with the square of the batch, not
    with the number of triplets.

    Needs: P × K batches.
    """
    return Loss(shape, _signal_to_noise_triplet, margin=margin, zero_mean=zero_mean, per=per, normalize=normalize)


def signal_to_noise_triplet_loss(
    points: Tensor, triplets: Tensor, *, margin: float = 0.2, zero_mean: float = 0.005, per: str = "costly"
) -> Tensor:
    """The loss of a list of triplets [T, 3], rows of points [B, dim], a scalar; parameters as in the loss of all."""
    anchors, positives, negatives = triplets.unbind(1)
    distance = noise_to_signal(points, points)
    costs = F.relu(distance[anchors, positives] - distance[anchors, negatives] + margin)
    counted = costs > 0 if per == "costly" else torch.ones_like(costs)
    return costs.sum() / counted.sum().clamp(min=1) + zero_mean * points[anchors].sum(1).abs().mean()


def _signal_to_noise_triplet(
    embeddings: Tensor,
    labels: Tensor,
    references: References | None = None,
    *,
    margin: float,
    zero_mean: float,
    per: str,
    normalize: bool,
) -> Tensor:
    scaled = unit if normalize else single
    points = scaled(embeddings)
    distance = noise_to_signal(points, scaled(references.embeddings) if references else points)
    positive, negative = pairs(labels, references)
    each = (positive.sum(1) * negative.sum(1)).to(distance.dtype)
    # A sum over triplets is linear in the distances, so it is enough to count how often each of them occurs.
    with torch.no_grad():
        as_positive, as_negative = occurrences(distance, positive, negative, low=-math.inf, high=margin)
        kept = as_positive.sum()
    total = margin * kept + ((as_positive - as_negative) * distance).sum()
    mean = total / (kept if per == "costly" else each.sum()).clamp(min=1)
    return mean + zero_mean * (each @ points.sum(1).abs()) / each.sum().clamp(min=1)
