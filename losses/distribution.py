"""Losses over how the similarities of a batch are distributed; none has parameters to train."""

from typing import Annotated

import torch
from annotated_types import Ge, Le, Lt
from torch import Tensor, nn
from torch.nn import functional as F

from losses.arguments import checked
from losses.module import Loss
from losses.pairwise import References, mean_of, pairs, similarities
from losses.shape import Shape
from losses.tuned import Tuned

__all__ = ["histogram", "intra_pair_variance", "threshold_consistent_margin"]


@checked
def histogram(shape: Shape, *, bins: Annotated[int, Ge(1), Le(1000), Tuned(20, 200, log=True)] = 100) -> nn.Module:
    """Histogram (Ustinova, Lempitsky, NeurIPS 2016, arXiv 1611.00822).

    The probability that a random negative pair is at least as similar as a random positive one, estimated from the
    histogram of the cosine similarities of each kind, over all pairs of the batch. `bins` equal steps lead from -1 to
    1; the two ends of its step share a pair, the nearer taking more.

    Needs: P × K batches.
    """
    return Loss(shape, _histogram, bins=bins)


@checked
def intra_pair_variance(
    shape: Shape,
    *,
    positive_epsilon: Annotated[float, Ge(0), Lt(1), Tuned(0.001, 0.2, log=True)] = 0.01,
    negative_epsilon: Annotated[float, Ge(0), Tuned(0.001, 0.2, log=True)] = 0.01,
) -> nn.Module:
    """Intra-pair variance (Yu, Tao, ICCV 2019).

    A positive pair costs the square of what its cosine similarity lacks to (1 - positive_epsilon) times the mean of all
    positive pairs, a negative one the square of its excess over (1 + negative_epsilon) times the mean of all negative
    pairs; both are averaged over all pairs of their kind. That makes each kind alike but does not part them: the paper
    adds it, weighted 0.5, to its tuplet margin loss, here as members of `sum`.

    Needs: P × K batches.
    """
    return Loss(shape, _intra_pair_variance, positive_epsilon=positive_epsilon, negative_epsilon=negative_epsilon)


@checked
def threshold_consistent_margin(
    shape: Shape,
    *,
    positive_margin: Annotated[float, Ge(-1), Le(1), Tuned(0.7, 0.98)] = 0.9,
    negative_margin: Annotated[float, Ge(-1), Le(1), Tuned(0.2, 0.6)] = 0.5,
    positive_weight: Annotated[float, Ge(0)] = 1.0,
    negative_weight: Annotated[float, Ge(0)] = 1.0,
) -> nn.Module:
    """Threshold-consistent margin (Zhang, Xu, Tang, Fang, Wu, Tighe, Xing, ICLR 2024, arXiv 2307.04047).

    The mean lack of the positive pairs whose cosine similarity is at most `positive_margin`, and the mean excess of the
    negative pairs where it is at least `negative_margin`, weighted and added. A regulariser that makes one threshold
    fit all classes: the paper adds it to a base loss, here as members of `sum`.

    Needs: P × K batches.
    """
    if not positive_weight + negative_weight:
        raise ValueError("threshold_consistent_margin trains nothing with both weights 0: raise one.")
    return Loss(
        shape,
        _threshold_consistent_margin,
        positive_margin=positive_margin,
        negative_margin=negative_margin,
        positive_weight=positive_weight,
        negative_weight=negative_weight,
    )


def _histogram(embeddings: Tensor, labels: Tensor, references: References | None = None, *, bins: int) -> Tensor:
    # Rounding takes the similarity of two equal rows past 1, where there is no step.
    place = (similarities(embeddings, references).clamp(-1, 1) + 1) * (bins / 2)
    step = place.detach().floor().long().clamp(0, bins - 1)
    positive, negative = (_densities(place - step, step, chosen, bins) for chosen in pairs(labels, references))
    up_to = torch.ones(bins + 1, bins + 1, dtype=place.dtype, device=place.device).tril()
    return negative @ (up_to @ positive)


def _densities(way: Tensor, step: Tensor, chosen: Tensor, bins: int) -> Tensor:
    """Share of the chosen pairs at each end of a step, [bins + 1]; all 0 where none is chosen."""
    share = chosen / chosen.sum().clamp(min=1).to(way.dtype)
    ends = torch.stack([step, step + 1]).flatten()
    shares = torch.stack([(1 - way) * share, way * share]).flatten()
    return way.new_zeros(bins + 1).scatter_add(0, ends, shares)


def _intra_pair_variance(
    embeddings: Tensor,
    labels: Tensor,
    references: References | None = None,
    *,
    positive_epsilon: float,
    negative_epsilon: float,
) -> Tensor:
    similarity = similarities(embeddings, references)
    positive, negative = pairs(labels, references)
    lack = (1 - positive_epsilon) * mean_of(similarity, positive) - similarity
    excess = similarity - (1 + negative_epsilon) * mean_of(similarity, negative)
    return mean_of(F.relu(lack).square(), positive) + mean_of(F.relu(excess).square(), negative)


def _threshold_consistent_margin(
    embeddings: Tensor,
    labels: Tensor,
    references: References | None = None,
    *,
    positive_margin: float,
    negative_margin: float,
    positive_weight: float,
    negative_weight: float,
) -> Tensor:
    similarity = similarities(embeddings, references)
    positive, negative = pairs(labels, references)
    lack, excess = positive_margin - similarity, similarity - negative_margin
    near, far = mean_of(lack, positive & ~(lack < 0)), mean_of(excess, negative & ~(excess < 0))
    return positive_weight * near + negative_weight * far
