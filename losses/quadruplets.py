"""Losses over quadruplets of a batch: an anchor, an image of its class, and two images of two other classes."""

from typing import Annotated, Literal, NamedTuple

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn import functional as F

from losses.arguments import checked
from losses.module import Loss
from losses.pairwise import distances, mean_of, pairs, single, unit
from losses.shape import Shape
from losses.to_device import uniform
from losses.tuned import Tuned

__all__ = ["quadruplet"]


class Quadruplets(NamedTuple):
    """Which rows of a batch are compared: the first three are a triplet."""

    anchors: Tensor
    """[T], row numbers."""
    positives: Tensor
    """[T]."""
    negatives: Tensor
    """[T]."""
    fourths: Tensor
    """[T], of a class that is neither the anchor's nor the negative's."""
    triplet: Tensor
    """[T], a mask: the batch has such a triplet."""
    whole: Tensor
    """[T], a mask: the batch has the fourth image too."""


@checked
def quadruplet(
    shape: Shape,
    *,
    margin: Annotated[float, Gt(0), Tuned(0.05, 0.5)] = 0.2,
    second_margin: Annotated[float, Ge(0), Tuned(0.05, 0.5)] = 0.2,
    mining: Literal["hard", "random"] = "hard",
    crossed: bool = False,
    normalize: bool = True,
) -> nn.Module:
    """Quadruplet (Chen, Chen, Zhang, Huang, CVPR 2017, arXiv 1704.01719).

    The mean of max(0, d(anchor, positive) - d(anchor, negative) + margin), plus the mean of max(0, d(anchor, positive)
    - d(negative, fourth) + second_margin), where the fourth image is of a third class: so images of a class are nearer
    than any two of different classes are. One quadruplet per anchor. "hard" takes its furthest positive, its nearest
    negative, and the image of a third class that is nearest to this negative; "random" draws all three. Where there
    is no third class, the first part stands alone. Distances are Euclidean, of the L2-normalised embeddings, or,
    without `normalize`, of the embeddings as given. Both margins are 0.2 as in later code.

    The paper learns what it compares by, squares it, derives both margins from the mean distances of the batch, the
    second the smaller, and takes all quadruplets that are harder. `crossed` takes in the second part the fourth images
    of all anchors for each of them, whatever their classes, as later code does.

    Needs: P × K batches.
    """
    return Loss(
        shape,
        _quadruplet,
        margin=margin,
        second_margin=second_margin,
        mining=mining,
        crossed=crossed,
        normalize=normalize,
    )


def quadruplet_loss(
    points: Tensor, chosen: Quadruplets, *, margin: float = 0.2, second_margin: float = 0.2, crossed: bool = False
) -> Tensor:
    """The loss of chosen rows of points [B, dim], a scalar; parameters as in `quadruplet`."""
    anchors, positives, negatives, fourths = (points[rows] for rows in chosen[:4])
    near = _apart(anchors, positives)
    first = mean_of(F.relu(near - _apart(anchors, negatives) + margin), chosen.triplet)
    if crossed:
        among = chosen.triplet[:, None] & chosen.whole
        return first + mean_of(F.relu(near[:, None] - distances(negatives, fourths) + second_margin), among)
    return first + mean_of(F.relu(near - _apart(negatives, fourths) + second_margin), chosen.whole)


def hard_quadruplets(points: Tensor, labels: Tensor) -> Quadruplets:
    """Of every row of points [B, dim] with labels [B] the furthest positive and so on, as "hard" says."""
    distance = distances(points)
    positive, negative = pairs(labels)
    positives = distance.masked_fill(~positive, -torch.inf).argmax(1)
    negatives = distance.masked_fill(~negative, torch.inf).argmin(1)
    third = negative & negative[negatives]
    fourths = distance[negatives].masked_fill(~third, torch.inf).argmin(1)
    return _quadruplets(positives, negatives, fourths, third, positive, negative)


def random_quadruplets(labels: Tensor) -> Quadruplets:
    """Of every image, by labels [B], a positive, a negative and an image of a third class, each of them as likely."""
    positive, negative = pairs(labels)
    negatives = _one_of(negative)
    third = negative & negative[negatives]
    return _quadruplets(_one_of(positive), negatives, _one_of(third), third, positive, negative)


def _quadruplet(
    embeddings: Tensor,
    labels: Tensor,
    *,
    margin: float,
    second_margin: float,
    mining: str,
    crossed: bool,
    normalize: bool,
) -> Tensor:
    points = unit(embeddings) if normalize else single(embeddings)
    if mining == "random":
        # In an order of the images' own, what is drawn does not depend on their order in the batch.
        order = points[:, 0].argsort()
        points, labels = points[order], labels[order]
    with torch.no_grad():
        chosen = random_quadruplets(labels) if mining == "random" else hard_quadruplets(points, labels)
    return quadruplet_loss(points, chosen, margin=margin, second_margin=second_margin, crossed=crossed)


def _quadruplets(
    positives: Tensor, negatives: Tensor, fourths: Tensor, third: Tensor, positive: Tensor, negative: Tensor
) -> Quadruplets:
    """One per row; where a mask [B, B] has nothing in a row, what was taken there does not count."""
    anchors = torch.arange(len(positives), device=positives.device)
    triplet = positive.any(1) & negative.any(1)
    return Quadruplets(anchors, positives, negatives, fourths, triplet, triplet & third.any(1))


def _one_of(chosen: Tensor) -> Tensor:
    """A column drawn from those that are true in each row of a mask [B, R], [B]."""
    return uniform(*chosen.shape, device=chosen.device).masked_fill(~chosen, -1).argmax(1)


def _apart(points: Tensor, others: Tensor) -> Tensor:
    """Euclidean distances of rows [T, dim] from others [T, dim], [T]; 0, with gradient 0, where two are equal."""
    square = (points - others).square().sum(1)
    return square.masked_fill(square == 0, 1).sqrt().masked_fill(square == 0, 0)
