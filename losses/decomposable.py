"""ROADMAP, whose average precision of a batch is robust, and close to that of the whole dataset; nothing trains."""

import math
from typing import Annotated, Literal, NamedTuple

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from losses.arguments import checked
from losses.module import Loss
from losses.pairwise import References, mean_of, pairs, shared, similarities
from losses.shape import Shape
from losses.soft_counts import listed, one_by_one
from losses.tuned import Tuned

__all__ = ["calibration", "roadmap", "sup_ap"]


@checked
def sup_ap(
    shape: Shape,
    *,
    temperature: Annotated[float, Gt(0), Tuned(0.003, 0.1, log=True)] = 0.01,
    rho: Annotated[float, Ge(0), Tuned(10, 1000, log=True)] = 100.0,
    delta: Annotated[float, Ge(0)] = 0.05,
    offset: Annotated[float, Ge(0)] | Literal["continuous"] = 1.44,
    start: Annotated[float, Ge(0)] = 0.5,
    normalize: bool = True,
) -> nn.Module:
    """SupAP (Ramzi, Thome, Rambour, Audebert, Bitot, NeurIPS 2021, arXiv 2110.01445).

    1 - average precision, with a rank that is never too good. Positives that come before another one are counted
    exactly, and pass no gradient. A negative whose similarity with the query is higher than that of the positive by u
    counts sigmoid(u / temperature) up to u = 0, `start` more than that up to `delta`, and `offset` + rho · (u - delta)
    beyond, where the slope does not vanish. The defaults are those of the authors' code, which for iNaturalist has
    `offset` 1 and `start` 0. `offset` "continuous" is start + sigmoid(delta / temperature): no jump at `delta`.

    Cosine similarities, or, without `normalize`, inner products. As in the authors' code the query is one of its own
    positives. Means run over the positives of a query, then over the queries; one without another positive counts too,
    at nearly 0. Time grows with the square of the batch times the size of the largest class, memory with the square.

    Needs: P × K batches.
    """
    step = _step(temperature, rho, delta, offset, start)
    return Loss(shape, _sup_ap, step=step, normalize=normalize)


@checked
def calibration(
    shape: Shape,
    *,
    positive_margin: Annotated[float, Ge(-1), Le(1), Tuned(0.6, 1)] = 0.9,
    negative_margin: Annotated[float, Ge(-1), Le(1), Tuned(0.2, 0.8)] = 0.6,
) -> nn.Module:
    """Calibration, of ROADMAP (Ramzi, Thome, Rambour, Audebert, Bitot, NeurIPS 2021, arXiv 2110.01445).

    What the cosine similarity of a positive pair lacks to `positive_margin`, and what that of a negative pair exceeds
    `negative_margin` by, so that similarities mean the same in every batch. The two kinds are averaged apart, each over
    the pairs that cost anything, as in the authors' code. It was made to be added to `sup_ap`: that is `roadmap`.

    Needs: P × K batches.
    """
    return Loss(shape, _calibration, positive_margin=positive_margin, negative_margin=negative_margin)


@checked
def roadmap(
    shape: Shape,
    *,
    balance: Annotated[float, Ge(0), Le(1), Tuned(0.1, 0.9)] = 0.5,
    temperature: Annotated[float, Gt(0)] = 0.01,
    rho: Annotated[float, Ge(0), Tuned(10, 1000, log=True)] = 100.0,
    delta: Annotated[float, Ge(0)] = 0.05,
    offset: Annotated[float, Ge(0)] | Literal["continuous"] = 1.44,
    start: Annotated[float, Ge(0)] = 0.5,
    positive_margin: Annotated[float, Ge(-1), Le(1)] = 0.9,
    negative_margin: Annotated[float, Ge(-1), Le(1)] = 0.6,
) -> nn.Module:
    """ROADMAP (Ramzi, Thome, Rambour, Audebert, Bitot, NeurIPS 2021, arXiv 2110.01445).

    (1 - balance) times `sup_ap` plus `balance` times `calibration`, both of cosine similarities. The authors' code adds
    the two up with weight 1 each, so its value is twice this one.

    Needs: P × K batches.
    """
    return Loss(
        shape,
        _roadmap,
        balance=balance,
        step=_step(temperature, rho, delta, offset, start),
        positive_margin=positive_margin,
        negative_margin=negative_margin,
    )


class Step(NamedTuple):
    """How much a negative counts that is more similar to the query than a positive, or less."""

    temperature: float
    rho: float
    delta: float
    offset: float
    start: float

    def __call__(self, ahead: Tensor) -> Tensor:
        """Counts, 0 or more, of differences of similarity of any shape."""
        soft = torch.sigmoid(ahead / self.temperature)
        beyond = self.offset + self.rho * (ahead - self.delta)
        return soft.where(ahead <= 0, (soft + self.start).where(ahead <= self.delta, beyond))


def average_precisions(
    embeddings: Tensor, labels: Tensor, references: References | None = None, *, step: Step, normalize: bool = True
) -> tuple[Tensor, Tensor]:
    """Average precision of each image of a batch, embeddings [B, dim] with labels [B], as a query: [B].

    And a mask [B] of those that have a positive, which in a batch alone, or with a memory of it, is each itself.
    """
    similarity = similarities(embeddings, references, normalize=normalize)
    negative = pairs(labels, references)[1]
    place, there = listed(~negative)
    near, far = one_by_one(_before, place, similarity, negative, step)
    precision = (near / (near + far)).masked_fill(~there, 0)
    return precision.sum(1) / there.sum(1).clamp(min=1), there.any(1)


def _step(temperature: float, rho: float, delta: float, offset: float | str, start: float) -> Step:
    there = start + 1 / (1 + math.exp(-delta / temperature)) if isinstance(offset, str) else offset
    return Step(temperature, rho, delta, there, start)


def _before(similarity: Tensor, negative: Tensor, step: Step, nth: Tensor) -> tuple[Tensor, Tensor]:
    """How many positives come before the image `nth` of each query, itself included, and how many negatives: [B] each.

    The positives are counted exactly.
    """
    ahead = similarity - similarity.gather(1, nth[:, None])
    near = ((ahead >= 0) & ~negative).sum(1).to(ahead.dtype)
    return near, step(ahead).masked_fill(~negative, 0).sum(1)


def _sup_ap(
    embeddings: Tensor, labels: Tensor, references: References | None = None, *, step: Step, normalize: bool = True
) -> Tensor:
    found, asked = average_precisions(embeddings, labels, references, step=step, normalize=normalize)
    return mean_of(1 - found, asked)


def _calibration(
    embeddings: Tensor,
    labels: Tensor,
    references: References | None = None,
    *,
    positive_margin: float,
    negative_margin: float,
) -> Tensor:
    similarity = similarities(embeddings, references)
    positive, negative = pairs(labels, references)
    near = _mean_lack(positive_margin - similarity, positive)
    return near + _mean_lack(similarity - negative_margin, negative)


def _mean_lack(lack: Tensor, chosen: Tensor) -> Tensor:
    """Mean of what the chosen lack, over those that lack anything."""
    # What is not a number is kept, and so spoils the loss for all to see.
    return mean_of(lack, chosen & ~(lack <= 0))


def _roadmap(
    embeddings: Tensor,
    labels: Tensor,
    references: References | None = None,
    *,
    balance: float,
    step: Step,
    positive_margin: float,
    negative_margin: float,
) -> Tensor:
    margins = {"positive_margin": positive_margin, "negative_margin": negative_margin}
    with shared():
        ranking = _sup_ap(embeddings, labels, references, step=step)
        return (1 - balance) * ranking + balance * _calibration(embeddings, labels, references, **margins)
