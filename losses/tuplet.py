"""Losses of an anchor and a positive against all their negatives at once; none has parameters to train."""

import math
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn
from torch.nn import functional as F

from losses.arguments import checked
from losses.module import Loss
from losses.pairwise import (
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
from losses.tuned import Tuned

__all__ = ["angular", "generalized_lifted_structure", "lifted_structure", "tuplet_margin"]


@checked
def angular(
    shape: Shape,
    *,
    alpha: Annotated[float, Gt(0), Le(70), Tuned(30, 60)] = 45.0,
    anchors: Literal["all", "first"] = "all",
) -> nn.Module:
    """Angular (Wang, Zhou, Wen, Liu, Lin, ICCV 2017, arXiv 1708.01682).

    Bounds the angle at the negative n of the triangle of anchor a, positive p and n by `alpha`, in degrees: the mean
    over the positive pairs of log(1 + sum over n of exp(4 t (a + p) · n - 2 (1 + t) a · p)), t the square of the
    tangent of alpha, of L2-normalised embeddings. Above 70 degrees single precision cannot hold the sum. `anchors`:
    "all" takes every positive pair and every negative; "first" is the N-pair form, where the first two images of
    each class, in batch order, are an anchor and its positive, and the positives of other classes are the negatives;
    it stays within the batch, so it cannot be the member of a `cross_batch_memory`.
    The paper's best results add it, weighted 2, to the N-pair loss, here as members of `sum`. pytorch-metric-learning
    has 40 degrees and leaves the negatives at the length they came with.

    Needs: P × K batches.
    """
    return Loss(shape, _angular if anchors == "all" else _angular_first, alpha=alpha)


@checked
def tuplet_margin(
    shape: Shape,
    *,
    margin: Annotated[float, Ge(0), Lt(1.5), Tuned(0.02, 0.4)] = 0.1,
    scale: Annotated[float, Gt(0), Tuned(16, 128, log=True)] = 64.0,
) -> nn.Module:
    """Tuplet margin (Yu, Tao, ICCV 2019).

    The mean over the positive pairs of log(1 + sum over the anchor's negatives of exp(scale · (cos of the negative -
    cos(angle of the positive - margin)))), of the angles between embeddings. The slack `margin`, in radians, is what a
    positive may be away at no cost: without it a loss of this kind spends itself on the hardest positives. The paper
    adds a loss of the variance of the pairs: `intra_pair_variance`, as members of `sum`.

    Needs: P × K batches.
    """
    return Loss(shape, _tuplet_margin, margin=margin, scale=scale)


@checked
def lifted_structure(
    shape: Shape, *, margin: Annotated[float, Gt(0), Tuned(0.5, 2)] = 1.0, normalize: bool = False
) -> nn.Module:
    """Lifted structure (Oh Song, Xiang, Jegelka, Savarese, CVPR 2016, arXiv 1511.06452).

    A positive pair costs half the square of max(0, its distance + log of the sum of exp(margin - distance) over the
    negatives of both); the mean over the positive pairs. Euclidean distances of the embeddings as given, or, with
    `normalize`, as in most later code, of the L2-normalised ones.

    In a `cross_batch_memory` both images look for their negatives in the whole memory. CrossBatchMemory of
    pytorch-metric-learning takes a place in the memory for one in the batch there, once it holds an earlier batch.

    Needs: P × K batches.
    """
    return Loss(shape, _lifted_structure, margin=margin, normalize=normalize)


@checked
def generalized_lifted_structure(
    shape: Shape, *, margin: Annotated[float, Gt(0), Tuned(0.5, 2)] = 1.0, normalize: bool = False
) -> nn.Module:
    """Generalized lifted structure (Hermans, Beyer, Leibe, arXiv 1703.07737).

    An anchor costs max(0, log of the sum of exp(distance) over its positives + log of the sum of
    exp(margin - distance) over its negatives); the mean (in the paper the sum) over the anchors that have both.
    pytorch-metric-learning counts an empty sum as 1, so that an anchor without positives costs something. Euclidean
    distances of the embeddings as given, or, with `normalize`, as in most later code, of the L2-normalised ones.

    Needs: P × K batches.
    """
    return Loss(shape, _generalized_lifted_structure, margin=margin, normalize=normalize)


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


def _angular(embeddings: Tensor, labels: Tensor, references: References | None = None, *, alpha: float) -> Tensor:
    similarity, (positive, negative) = similarities(embeddings, references), pairs(labels, references)
    t = _squared_tangent(alpha)
    shares, largest = their_shares, their_largest = _shares(4 * t * similarity, negative)
    if references:
        found, theirs, far = _of_positives(references, positive)
        their_shares, their_largest = _shares(4 * t * similarities(theirs, references), far)
        similarity, positive = similarity[:, found], positive[:, found]
    # Anchor and positive have the same negatives, so the sum over them is a product of two matrices.
    both = positive & negative.any(1, keepdim=True)
    log_sums = (shares @ their_shares.T).masked_fill(~both, 1).log() + largest + their_largest.T
    costs = softplus(log_sums - 2 * (1 + t) * similarity)
    return mean_of(costs.masked_fill(~both, 0), positive)


def _angular_first(embeddings: Tensor, labels: Tensor, *, alpha: float) -> Tensor:
    points = unit(embeddings)
    second, first = first_two(labels)
    return angular_n_pair_loss(points, points[second], alpha=alpha, kept=first)


def _shares(exponents: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """exp of the chosen exponents [M, R] over the largest of its row, 0 of others; and these largest ones, [M, 1]."""
    exponents = exponents.masked_fill(~chosen, -torch.inf)
    largest = exponents.detach().amax(1, keepdim=True).nan_to_num(neginf=0)
    return (exponents - largest).exp(), largest


def _of_positives(references: References, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The references that are positives [B, R] of any image, P of them, as they come from the model.

    A mask [R] of them, their embeddings [P, dim], and a mask [P, R] of their negatives.
    """
    # All references among themselves would be R² numbers, for a few classes of the batch.
    found = positive.any(0)
    return found, references.embeddings[found], references.labels[found, None] != references.labels


def _tuplet_margin(
    embeddings: Tensor, labels: Tensor, references: References | None = None, *, margin: float, scale: float
) -> Tensor:
    cosine = similarities(embeddings, references)
    positive, negative = pairs(labels, references)
    # The slope of the sine is infinite at angle 0 and pi; clamped, it is 0 there.
    sine = (1 - cosine.square()).clamp(min=torch.finfo(cosine.dtype).eps).sqrt()
    nearer = cosine * math.cos(margin) + sine * math.sin(margin)  # the cosine of the angle less the margin
    far = log_sum(scale * cosine, negative)[:, None]
    return mean_of(softplus(far - scale * nearer), positive)


def _lifted_structure(
    embeddings: Tensor, labels: Tensor, references: References | None = None, *, margin: float, normalize: bool
) -> Tensor:
    scaled = unit if normalize else single
    points = scaled(embeddings)
    others = scaled(references.embeddings) if references else points
    distance, (positive, negative) = distances(points, others), pairs(labels, references)
    far = their_far = log_sum(margin - distance, negative)
    if references:
        found, theirs, their_negative = _of_positives(references, positive)
        their_far = log_sum(margin - distances(scaled(theirs), others), their_negative)
        distance, positive = distance[:, found], positive[:, found]
    excess = distance + torch.logaddexp(far[:, None], their_far)
    return mean_of(F.relu(excess).square() / 2, positive)


def _generalized_lifted_structure(
    embeddings: Tensor, labels: Tensor, references: References | None = None, *, margin: float, normalize: bool
) -> Tensor:
    scaled = unit if normalize else single
    points = scaled(embeddings)
    distance = distances(points, scaled(references.embeddings) if references else points)
    positive, negative = pairs(labels, references)
    excess = log_sum(distance, positive) + log_sum(margin - distance, negative)
    return mean_of(F.relu(excess), positive.any(1) & negative.any(1))


def _squared_tangent(degrees: float) -> float:
    return math.tan(math.radians(degrees)) ** 2
