"""Losses that approximate the average precision of every image of the batch as a query; none has parameters."""

from typing import Annotated, Literal, NamedTuple

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from losses.arguments import checked
from losses.module import Loss
from losses.pairwise import References, distances, mean_of, pairs, similarities, unit
from losses.shape import Shape
from losses.soft_counts import listed, one_by_one
from losses.tuned import Tuned

__all__ = ["fast_ap", "pnp", "smooth_ap"]


@checked
def smooth_ap(shape: Shape, *, temperature: Annotated[float, Gt(0), Tuned(0.001, 0.1, log=True)] = 0.01) -> nn.Module:
    """Smooth-AP (Brown, Xie, Kalogeiton, Zisserman, ECCV 2020, arXiv 2007.12163).

    1 - average precision, where an image counts as ranked before another by a sigmoid of the difference of their cosine
    similarities with the query over `temperature`. As in the authors' code the query is one of its own positives. Means
    run over the positives of a query, then over the queries that have another positive; classes may differ in size.
    pytorch-metric-learning demands classes of one size, in order, and is only right with as many classes as images of
    each. Time grows with the square of the batch times the size of the largest class, memory with the square.

    Needs: P × K batches.
    """
    return Loss(shape, _smooth_ap, temperature=temperature)


@checked
def pnp(
    shape: Shape,
    *,
    variant: Literal["O", "Iu", "Ib", "Ds", "Dq"] = "Dq",
    alpha: Annotated[float, Ge(1), Tuned(1, 8)] = 4.0,
    b: Annotated[float, Gt(0)] = 2.0,
    temperature: Annotated[float, Gt(0)] = 0.01,
) -> nn.Module:
    """PNP (Li, Min, Song, Zhu, Kang, Wei, Wei, Jiang, AAAI 2022, arXiv 2102.04640).

    Penalises only the negatives that come before a positive: R of them, counted softly as in Smooth-AP with
    `temperature`. A positive costs, by `variant`, R ("O"), (1 + R) log(1 + R) ("Iu"), (bR - log(1 + bR)) / b² ("Ib"),
    log(1 + R) ("Ds") or 1 - (1 + R)^-alpha ("Dq"): the slope is constant, grows, grows up to 1 / b, or falls with R.
    The default, of the authors' sample run, suits a pretrained trunk: where R is large it has next to no slope, so for
    one that starts from nothing take "Ds" or alpha 1. As in their code the query is one of its own positives. Queries
    without another positive are left out; pytorch-metric-learning counts them as good. Time grows with the square of
    the batch times the size of the largest class, memory with the square.

    Needs: P × K batches.
    """
    return Loss(shape, _pnp, variant=variant, alpha=alpha, b=b, temperature=temperature)


@checked
def fast_ap(shape: Shape, *, bins: Annotated[int, Ge(1), Tuned(5, 50, log=True)] = 10) -> nn.Module:
    """FastAP (Cakir, He, Xia, Kulis, Sclaroff, CVPR 2019).

    1 - average precision of a ranking quantised into a histogram of `bins` steps: an image is shared out between the
    two nearest edges by its squared Euclidean distance from the query, 0 to 4 for L2-normalised embeddings. The mean is
    over the queries that have a positive.

    Needs: P × K batches.
    """
    return Loss(shape, _fast_ap, bins=bins)


class _Before(NamedTuple):
    """What comes before each positive of each query; K is the largest number of positives, the query among them."""

    images: Tensor
    """[B, K], a soft count."""
    negatives: Tensor
    """[B, K], a soft count of those among them."""
    kept: Tensor
    """[B, K]: where there is such a positive, of a query that has another than itself."""


def _smooth_ap(
    embeddings: Tensor, labels: Tensor, references: References | None = None, *, temperature: float
) -> Tensor:
    before = _before(embeddings, labels, references, temperature=temperature)
    return _mean(before.negatives / (1 + before.images), before.kept)


def _pnp(
    embeddings: Tensor,
    labels: Tensor,
    references: References | None = None,
    *,
    variant: str,
    alpha: float,
    b: float,
    temperature: float,
) -> Tensor:
    before = _before(embeddings, labels, references, temperature=temperature)
    return _mean(_penalty(before.negatives, variant, alpha, b), before.kept)


def _penalty(negatives: Tensor, variant: str, alpha: float, b: float) -> Tensor:
    if variant == "Iu":
        return (1 + negatives) * negatives.log1p()
    if variant == "Ib":
        return (b * negatives - (b * negatives).log1p()) / b**2
    if variant == "Ds":
        return negatives.log1p()
    return -torch.expm1(-alpha * negatives.log1p()) if variant == "Dq" else negatives


def _fast_ap(embeddings: Tensor, labels: Tensor, references: References | None = None, *, bins: int) -> Tensor:
    points = unit(embeddings)
    distance = distances(points, unit(references.embeddings) if references else points, squared=True)
    positive, negative = pairs(labels, references)
    near, far = _histograms(distance, positive, negative, bins)
    # Not by cumsum, which on CUDA may round otherwise from run to run.
    up_to = torch.ones_like(near[:1]).expand(bins + 1, -1).triu()
    before, seen = near @ up_to, (near + far) @ up_to
    precision = near * before / seen.masked_fill(seen == 0, 1)
    return mean_of(1 - precision.sum(1) / positive.sum(1).clamp(min=1), positive.any(1))


def _histograms(distance: Tensor, positive: Tensor, negative: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Positives and negatives at each edge, [B, bins + 1] twice."""
    place = distance * (bins / 4)
    edge = place.detach().floor().clamp(max=bins - 1)
    counted = (positive | negative).to(place.dtype)
    upper = (place - edge) * counted
    # Both histograms in one: that of the negatives follows that of the positives.
    slot = edge.long().clamp(min=0) + (bins + 1) * negative
    both = place.new_zeros(len(place), 2 * (bins + 1))
    both = both.scatter_add(1, slot, counted - upper).scatter_add(1, slot + 1, upper)
    near, far = both.chunk(2, 1)
    return near, far


def _before(embeddings: Tensor, labels: Tensor, references: References | None, *, temperature: float) -> _Before:
    logits = similarities(embeddings, references) / temperature
    positive, negative = pairs(labels, references)
    place, there = listed(~negative)
    images, negatives = one_by_one(_count, place, logits, negative.to(logits.dtype))
    return _Before(images, negatives, there & positive.any(1, keepdim=True))


def _count(logits: Tensor, negative: Tensor, nth: Tensor) -> tuple[Tensor, Tensor]:
    """How many images, and how many negatives, come before the image `nth` of each query, softly: [B] each."""
    before = torch.sigmoid(logits - logits.gather(1, nth[:, None]))
    # The image itself counts one half in the sum.
    return before.sum(1) - 0.5, (before * negative).sum(1)


def _mean(cost: Tensor, kept: Tensor) -> Tensor:
    """Mean of [B, K] over the kept of each row, then over the rows that keep any."""
    each = cost.masked_fill(~kept, 0).sum(1) / kept.sum(1).clamp(min=1)
    return mean_of(each, kept.any(1))
