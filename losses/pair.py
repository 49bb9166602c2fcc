"""Losses over the pairs of a batch; none has parameters to train."""

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn
from torch.nn import functional as F

from losses.arguments import checked
from losses.module import Loss
from losses.pairwise import (
    References,
    distances,
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

__all__ = ["binomial_deviance", "circle", "contrastive", "multi_similarity", "signal_to_noise_contrastive"]


@checked
def contrastive(
    shape: Shape,
    *,
    # The code of Musgrave et al. (ECCV 2020) searches both from 0 to 1; unit vectors are up to 2 apart.
    positive_margin: Annotated[float, Ge(0), Tuned(0, 1)] = 0.0,
    negative_margin: Annotated[float, Gt(0), Tuned(0.3, 1.4)] = 1.0,
    squared: bool = True,
    mining: Literal["all", "multi_similarity"] = "all",
) -> nn.Module:
    """Contrastive (Hadsell, Chopra, LeCun, CVPR 2006).

    Pairs of a class are pulled to within `positive_margin`, others pushed beyond `negative_margin`, in Euclidean
    distance of the L2-normalised embeddings (at most 2). A pair costs half the square of what it lacks, or, without
    `squared`, what it lacks. The two kinds are averaged apart, each over the pairs that cost anything, and that
    `mining` keeps: "all", or those that the loss `multi_similarity` keeps at its default `epsilon`.

    Needs: P × K batches.
    """
    return Loss(
        shape,
        _contrastive,
        positive_margin=positive_margin,
        negative_margin=negative_margin,
        squared=squared,
        mining=mining,
    )


@checked
def multi_similarity(
    shape: Shape,
    *,
    alpha: Annotated[float, Gt(0)] = 2.0,
    beta: Annotated[float, Gt(0), Tuned(10, 100, log=True)] = 50.0,
    base: Annotated[float, Tuned(0.2, 0.8)] = 0.5,
    epsilon: float = 0.1,
) -> nn.Module:
    """Multi-Similarity (Wang, Han, Huang, Dong, Scott, CVPR 2019, arXiv 1904.06627).

    Cosine similarities; `alpha` and `beta` scale positive and negative pairs, `base` is where both turn (0.5 as in the
    authors' code). Mined as in the paper: a positive counts if it is less similar than the most
    similar negative plus `epsilon`, a negative if it is more similar than the least similar positive minus `epsilon`.

    Needs: P × K batches.
    """
    return Loss(shape, _multi_similarity, alpha=alpha, beta=beta, base=base, epsilon=epsilon)


@checked
def binomial_deviance(
    shape: Shape,
    *,
    positive_scale: Annotated[float, Gt(0)] = 2.0,
    negative_scale: Annotated[float, Gt(0), Tuned(10, 50, log=True)] = 25.0,
    margin: Annotated[float, Tuned(0.2, 0.8)] = 0.5,
    normalize: bool = True,
    positives: Literal["others", "below_one"] = "others",
) -> nn.Module:
    """Binomial deviance (Yi, Lei, Li, arXiv 1407.4979).

    A pair of similarity s costs log(1 + exp(-positive_scale · (s - margin))) in a class, and
    log(1 + exp(negative_scale · (s - margin))) across classes; each image averages its positives and its negatives
    apart. Scales and averages are those of the ensemble of losses of Zabihzadeh et al. (arXiv 2107.01130); the first
    paper averages over all pairs at once, the same in P × K batches. s is cosine similarity, or, without `normalize`,
    the inner product. `positives`: "others", every other image of the class, or "below_one", every pair of the class
    with s < 1, an image with itself too: that ensemble's code. For unit vectors "below_one" would hang on rounding, so
    it is refused with `normalize`.

    Needs: P × K batches.
    """
    if normalize and positives == "below_one":
        raise ValueError("below_one hangs on rounding where rows have norm 1: set normalize = false, or positives.")
    return Loss(
        shape,
        binomial_deviance_loss,
        positive_scale=positive_scale,
        negative_scale=negative_scale,
        margin=margin,
        normalize=normalize,
        positives=positives,
    )


@checked
def circle(
    shape: Shape,
    *,
    margin: Annotated[float, Ge(0), Lt(1), Tuned(0.1, 0.6)] = 0.4,
    gamma: Annotated[float, Gt(0), Tuned(16, 256, log=True)] = 80.0,
) -> nn.Module:
    """Circle (Sun, Cheng, Zhang, Zhang, Zheng, Wang, Wei, CVPR 2020, arXiv 2002.10857).

    A cosine similarity weighs as much as it is off its optimum, 1 + margin for positives and -margin for negatives, a
    weight that passes no gradient; positives should reach 1 - margin, negatives stay below `margin`. `gamma` scales.
    The mean of log(1 + sum over negatives · sum over positives) over the images that have both. Defaults: the paper's
    for fine-grained retrieval; for faces it has 0.25 and 256, for persons 0.25 and 128.

    Needs: P × K batches.
    """
    return Loss(shape, _circle, margin=margin, gamma=gamma)


@checked
def signal_to_noise_contrastive(
    shape: Shape,
    *,
    positive_margin: Annotated[float, Ge(0), Tuned(0, 0.5)] = 0.0,
    negative_margin: Annotated[float, Gt(0), Tuned(0.3, 1.5)] = 1.0,
    zero_mean: Annotated[float, Ge(0)] = 0.0,
    normalize: bool = True,
) -> nn.Module:
    """Signal-to-noise contrastive (Yuan, Deng, Tang, Tang, Chen, CVPR 2019, arXiv 1904.02616).

    The distance from an anchor is the variance, over coordinates, of the difference, divided by the variance of the
    anchor: it differs with the direction. What positives exceed `positive_margin` by and what negatives lack to
    `negative_margin` are averaged apart, each over the pairs that cost anything. `zero_mean` weighs the paper's
    regulariser, the mean over images of the absolute sum of coordinates; 0 as in later code. In the paper that is of
    the embeddings as given, here of those that the distances are taken of. Embeddings are L2-normalised first, as in
    later code too, or, without `normalize`, taken as given.

    Needs: P × K batches.
    """
    return Loss(
        shape,
        _signal_to_noise_contrastive,
        positive_margin=positive_margin,
        negative_margin=negative_margin,
        zero_mean=zero_mean,
        normalize=normalize,
    )


def binomial_deviance_loss(
    embeddings: Tensor,
    labels: Tensor,
    references: References | None = None,
    *,
    positive_scale: float = 2.0,
    negative_scale: float = 25.0,
    margin: float = 0.5,
    normalize: bool = True,
    positives: Literal["others", "below_one"] = "others",
) -> Tensor:
    """Binomial deviance of embeddings [B, dim] with labels [B], a scalar; parameters as in `binomial_deviance`."""
    similarity = similarities(embeddings, references, normalize=normalize)
    positive, negative = pairs(labels, references)
    if positives == "below_one":
        positive = ~negative & (similarity < 1)
    near = _mean_a_row(softplus(-positive_scale * (similarity - margin)), positive)
    far = _mean_a_row(softplus(negative_scale * (similarity - margin)), negative)
    return (near + far).mean()


def _contrastive(
    embeddings: Tensor,
    labels: Tensor,
    references: References | None = None,
    *,
    positive_margin: float,
    negative_margin: float,
    squared: bool,
    mining: str,
) -> Tensor:
    points = unit(embeddings)
    distance = distances(points, unit(references.embeddings) if references else points)
    positive, negative = pairs(labels, references)
    if mining == "multi_similarity":
        positive, negative = _mined(1 - distance.detach().square() / 2, positive, negative, epsilon=0.1)
    near = _mean_lack(distance - positive_margin, positive, squared=squared)
    return near + _mean_lack(negative_margin - distance, negative, squared=squared)


def _multi_similarity(
    embeddings: Tensor,
    labels: Tensor,
    references: References | None = None,
    *,
    alpha: float,
    beta: float,
    base: float,
    epsilon: float,
) -> Tensor:
    similarity = similarities(embeddings, references)
    positive, negative = _mined(similarity.detach(), *pairs(labels, references), epsilon=epsilon)
    near = log_one_plus_sum(-alpha * (similarity - base), positive) / alpha
    far = log_one_plus_sum(beta * (similarity - base), negative) / beta
    return (near + far).mean()


def _circle(
    embeddings: Tensor, labels: Tensor, references: References | None = None, *, margin: float, gamma: float
) -> Tensor:
    similarity = similarities(embeddings, references)
    positive, negative = pairs(labels, references)
    pull = F.relu(1 + margin - similarity.detach()) * (1 - margin - similarity)
    push = F.relu(similarity.detach() + margin) * (similarity - margin)
    cost = softplus(log_sum(gamma * pull, positive) + log_sum(gamma * push, negative))
    return mean_of(cost, positive.any(1) & negative.any(1))


def _signal_to_noise_contrastive(
    embeddings: Tensor,
    labels: Tensor,
    references: References | None = None,
    *,
    positive_margin: float,
    negative_margin: float,
    zero_mean: float,
    normalize: bool,
) -> Tensor:
    scaled = unit if normalize else single
    points = scaled(embeddings)
    distance = noise_to_signal(points, scaled(references.embeddings) if references else points)
    positive, negative = pairs(labels, references)
    near = _mean_lack(distance - positive_margin, positive)
    far = _mean_lack(negative_margin - distance, negative)
    return near + far + zero_mean * points.sum(1).abs().mean()


def noise_to_signal(points: Tensor, others: Tensor) -> Tensor:
    """Variance of the difference over that of the row, [B, R], of points [B, dim] with others [R, dim]."""
    signal, other = points - points.mean(1, keepdim=True), others - others.mean(1, keepdim=True)
    power = signal.square().sum(1, keepdim=True)
    return distances(signal, other, squared=True) / power.clamp(min=torch.finfo(power.dtype).eps)


def _mined(similarity: Tensor, positive: Tensor, negative: Tensor, *, epsilon: float) -> tuple[Tensor, Tensor]:
    """The pairs that Multi-Similarity keeps."""
    furthest = similarity.masked_fill(~positive, torch.inf).amin(1, keepdim=True)
    nearest = similarity.masked_fill(~negative, -torch.inf).amax(1, keepdim=True)
    # What is not a number is kept, and so spoils the loss for all to see.
    return positive & ~(similarity - epsilon >= nearest), negative & ~(similarity + epsilon <= furthest)


def _mean_lack(lack: Tensor, chosen: Tensor, *, squared: bool = False) -> Tensor:
    """Mean of what the chosen lack, or of half its square, over those that lack anything."""
    lack = F.relu(lack).masked_fill(~chosen, 0)
    cost = lack.square() / 2 if squared else lack
    return cost.sum() / (lack > 0).sum().clamp(min=1)


def _mean_a_row(values: Tensor, chosen: Tensor) -> Tensor:
    """Means of the chosen, row by row, [M, N] to [M]; 0 for a row with none chosen."""
    return values.masked_fill(~chosen, 0).sum(1) / chosen.sum(1).clamp(min=1)
