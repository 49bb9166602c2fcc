"""Losses of an anchor and a positive against all their negatives at once; none has parameters to train."""

import math
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn
from torch.nn import functional as F

from losses.matrix import (
    References,
    distances,
    first_two,
    log_one_plus_sum,
    log_sum,
    mean_of,
    pairs,
    similarities,
    single,
    softplus,
    unit,
)
from losses.shape import Shape

__all__ = ["angular", "generalized_lifted_structure", "lifted_structure", "tuplet_margin"]


def angular(
    shape: Shape,  # noqa: ARG001
    *,
    alpha: Annotated[float, Gt(0), Le(70)] = 45.0,
    anchors: Literal["all", "first"] = "all",
) -> nn.Module:
    """Angular (Wang, Zhou, Wen, Liu, Lin, ICCV 2017, arXiv 1708.01682).

    Bounds the angle at the negative n of the triangle of anchor a, positive p and n by `alpha`, in degrees: the mean
    over the positive pairs of log(1 + sum over n of exp(4 t (a + p) · n - 2 (1 + t) a · p)), t the square of the
    tangent of alpha, of L2-normalised embeddings. Above 70 degrees single precision cannot hold the sum. `anchors`:
    "all" takes every positive pair and every negative; "first" is the N-pair form, where the first two images of
    each class, in batch order, are an anchor and its positive, and the positives of other classes are the negatives.
    The paper's best results add it, weighted 2, to the N-pair loss, here as members of `sum`. pytorch-metric-learning
    has 40 degrees and leaves the negatives at the length they came with.

    Needs: P × K batches.
    """
    return _Angular(alpha, anchors)


def tuplet_margin(
    shape: Shape,  # noqa: ARG001
    *,
    margin: Annotated[float, Ge(0), Lt(1.5)] = 0.1,
    scale: Annotated[float, Gt(0)] = 64.0,
) -> nn.Module:
    """Tuplet margin (Yu, Tao, ICCV 2019).

    The mean over the positive pairs of log(1 + sum over the anchor's negatives of exp(scale · (cos of the negative -
    cos(angle of the positive - margin)))), of the angles between embeddings. The slack `margin`, in radians, is what a
    positive may be away at no cost: without it a loss of this kind spends itself on the hardest positives. The paper
    adds a loss of the variance of the pairs: `intra_pair_variance`, as members of `sum`.

    Needs: P × K batches.
    """
    return _TupletMargin(margin, scale)


def lifted_structure(
    shape: Shape,  # noqa: ARG001
    *,
    margin: Annotated[float, Gt(0)] = 1.0,
    normalize: bool = False,
) -> nn.Module:
    """Lifted structure (Oh Song, Xiang, Jegelka, Savarese, CVPR 2016, arXiv 1511.06452).

    A positive pair costs half the square of max(0, its distance + log of the sum of exp(margin - distance) over the
    negatives of both); the mean over the positive pairs. Euclidean distances of the embeddings as given, or, with
    `normalize`, as in most later code, of the L2-normalised ones.

    Needs: P × K batches.
    """
    return _LiftedStructure(margin, normalize)


def generalized_lifted_structure(
    shape: Shape,  # noqa: ARG001
    *,
    margin: Annotated[float, Gt(0)] = 1.0,
    normalize: bool = False,
) -> nn.Module:
    """Generalized lifted structure (Hermans, Beyer, Leibe, arXiv 1703.07737).

    An anchor costs max(0, log of the sum of exp(distance) over its positives + log of the sum of
    exp(margin - distance) over its negatives); the mean (in the paper the sum) over the anchors that have both.
    pytorch-metric-learning counts an empty sum as 1, so that an anchor without positives costs something. Euclidean
    distances of the embeddings as given, or, with `normalize`, as in most later code, of the L2-normalised ones.

    Needs: P × K batches.
    """
    return _GeneralizedLiftedStructure(margin, normalize)


def angular_n_pair_loss(anchors: Tensor, positives: Tensor, *, alpha: float, kept: Tensor | None = None) -> Tensor:
    """The N-pair form of q pairs of different classes, a scalar; 0, with a graph, where there is none.

    Anchors and positives [q, dim] are used as given, `alpha` is in degrees; only pairs in the mask `kept` [q] count,
    by default all.
    """
    kept = torch.ones(len(anchors), dtype=torch.bool, device=anchors.device) if kept is None else kept
    t = _squared_tangent(alpha)
    own = (anchors * positives).sum(1, keepdim=True)
    exponents = 4 * t * (anchors + positives) @ positives.T - 2 * (1 + t) * own
    return mean_of(log_one_plus_sum(exponents, kept.repeat(len(kept), 1).fill_diagonal_(False)), kept)


class _Angular(nn.Module):
    def __init__(self, alpha: float, anchors: str) -> None:
        super().__init__()
        self.alpha = alpha
        self.anchors = anchors

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        if self.anchors == "all":
            return self.all_pairs(similarities(embeddings, None), *pairs(labels))
        points = unit(embeddings)
        second, first = first_two(labels)
        return angular_n_pair_loss(points, points[second], alpha=self.alpha, kept=first)

    def all_pairs(self, similarity: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Anchor and positive have the same negatives, so the sum over them is a product of the matrix with itself."""
        t = _squared_tangent(self.alpha)
        exponents = (4 * t * similarity).masked_fill(~negative, -torch.inf)
        largest = exponents.detach().amax(1, keepdim=True).nan_to_num(neginf=0)
        shares = (exponents - largest).exp()
        both = positive & negative.any(1, keepdim=True)
        log_sums = (shares @ shares.T).masked_fill(~both, 1).log() + largest + largest.T
        costs = softplus(log_sums - 2 * (1 + t) * similarity)
        return mean_of(costs.masked_fill(~both, 0), positive)


class _TupletMargin(nn.Module):
    def __init__(self, margin: float, scale: float) -> None:
        super().__init__()
        self.margin = margin
        self.scale = scale

    def forward(self, embeddings: Tensor, labels: Tensor, references: References | None = None) -> Tensor:
        cosine = similarities(embeddings, references)
        positive, negative = pairs(labels, references)
        far = log_sum(self.scale * cosine, negative)[:, None]
        return mean_of(softplus(far - self.scale * self.nearer(cosine)), positive)

    def nearer(self, cosine: Tensor) -> Tensor:
        """The cosine of the angle less the margin."""
        # The slope of the sine is infinite at angle 0 and pi; clamped, it is 0 there.
        sine = (1 - cosine.square()).clamp(min=torch.finfo(cosine.dtype).eps).sqrt()
        return cosine * math.cos(self.margin) + sine * math.sin(self.margin)


class _LiftedStructure(nn.Module):
    def __init__(self, margin: float, normalize: bool) -> None:
        super().__init__()
        self.margin = margin
        self.normalize = normalize

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        distance = distances(unit(embeddings) if self.normalize else single(embeddings))
        positive, negative = pairs(labels)
        far = log_sum(self.margin - distance, negative)
        excess = distance + torch.logaddexp(far[:, None], far)
        return mean_of(F.relu(excess).square() / 2, positive)


class _GeneralizedLiftedStructure(nn.Module):
    def __init__(self, margin: float, normalize: bool) -> None:
        super().__init__()
        self.margin = margin
        self.normalize = normalize

    def forward(self, embeddings: Tensor, labels: Tensor, references: References | None = None) -> Tensor:
        scaled = unit if self.normalize else single
        points = scaled(embeddings)
        distance = distances(points, scaled(references.embeddings) if references else points)
        positive, negative = pairs(labels, references)
        excess = log_sum(distance, positive) + log_sum(self.margin - distance, negative)
        return mean_of(F.relu(excess), positive.any(1) & negative.any(1))


def _squared_tangent(degrees: float) -> float:
    return math.tan(math.radians(degrees)) ** 2
