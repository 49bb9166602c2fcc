"""Ranked List Loss: every image a query, the other images of the batch its ranked list."""

from typing import Annotated, Any, Literal, NamedTuple

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from losses.arguments import checked
from losses.module import Loss
from losses.pairwise import References, constant, distances, pairs, unit
from losses.shape import Shape
from losses.tuned import Tuned

__all__ = ["ranked_list"]


@checked
def ranked_list(
    shape: Shape,
    *,
    alpha: Annotated[float, Gt(0), Tuned(0.8, 1.6)] = 1.2,
    margin: Annotated[float, Ge(0), Tuned(0.2, 0.6)] = 0.4,
    temperature: Annotated[float, Ge(0)] = 10.0,
    positive_temperature: Annotated[float, Ge(0)] = 0.0,
    form: Literal["tpami", "cvpr"] = "tpami",
    balance: Annotated[float, Ge(0)] | None = None,
    gallery_gradient: bool = False,
) -> nn.Module:
    """Ranked List Loss (Wang, Hua, Kodirov, Hu, Garnier, Robertson, CVPR 2019, arXiv 1903.03238; TPAMI 2021).

    Every image is a query. Positives further than `alpha` - `margin` are pulled inside it, negatives nearer than
    `alpha` are pushed outside it, in Euclidean distance of the L2-normalised embeddings. Each set has its mean: an
    image weighs exp(`temperature` · what it lacks) among the negatives, exp(`positive_temperature` · what it lacks)
    among the positives (0: all alike). The weights are constants, and only the query moves; with `gallery_gradient`
    the other images do too. Defaults as for Stanford Online Products; for CUB-200-2011 alpha is 1.4, margin 0.2.

    The `form` weighs the two means: "tpami" (1 - `balance`) · positives + balance · negatives, balance 0.5 unless
    given; "cvpr" positives + balance · negatives, balance 1 unless given. That the first paper means 1 is inferred.
    The authors' Caffe layer confirms alpha 1.2, margin 0.4 and balance 0.5, but counts a query by its share of the
    total weight of all pairs; here all queries count alike. RLL-(L,M,H) is the ensemble `slices` of three of these,
    read out "raw", on a backbone with three levels.

    pytorch-metric-learning differentiates through weights and gallery, adds 1e-5 per entry to the denominators and
    drops images of two classes that are the same point; here they are the hardest negatives, though without gradient.

    Needs: P × K batches.
    """
    if margin > alpha:
        raise ValueError(
            f"ranked_list pulls positives to within alpha - margin, which is below 0: set margin to {alpha} (alpha) or "
            f"less, not to {margin}."
        )
    if form == "tpami" and balance is not None and balance > 1:
        raise ValueError(
            f'ranked_list shares out a weight of 1: set balance to 1 or less, not to {balance}, or form to "cvpr".'
        )
    weight = (0.5 if form == "tpami" else 1.0) if balance is None else balance
    return Loss(
        shape,
        _ranked_list,
        alpha=alpha,
        margin=margin,
        temperature=temperature,
        positive_temperature=positive_temperature,
        form=form,
        balance=weight,
        gallery_gradient=gallery_gradient,
    )


class RankedLists(NamedTuple):
    """What each query of a batch [B] finds among the references [R]."""

    distances: Tensor
    """[B, R]."""
    positives: Tensor
    """Mask [B, R]: of the query's class, and too far."""
    negatives: Tensor
    """Mask [B, R]: of another class, and too near."""
    near: Tensor
    """[B]: mean over the positives of what they lack, 0 without any (L_P)."""
    far: Tensor
    """[B]: weighted mean over the negatives of what they lack, 0 without any (L_N)."""


def ranked_lists(
    points: Tensor,
    labels: Tensor,
    references: References | None = None,
    *,
    alpha: float,
    margin: float,
    temperature: float,
    positive_temperature: float = 0.0,
    gallery_gradient: bool = False,
    weight_gradient: bool = False,
) -> RankedLists:
    """The lists of rows that are L2-normalised already.

    Args:
        points: [B, dim], the queries.
        labels: [B].
        references: what they are compared with, rows L2-normalised too; None: one another.
        alpha: negatives nearer than this are pushed.
        margin: positives further than alpha - margin are pulled.
        temperature: of the weights of the negatives.
        positive_temperature: of the weights of the positives.
        gallery_gradient: the references get a gradient too.
        weight_gradient: the weights are differentiated, as in no version of the method.
    """
    gallery = references.embeddings if references else points
    distance = distances(points, gallery if gallery_gradient else constant(gallery))
    same, other = pairs(labels, references)
    excess, lack = distance - (alpha - margin), alpha - distance
    positives, negatives = same & (excess > 0), other & (lack > 0)
    near = _weighted_mean(excess, positives, positive_temperature, weight_gradient)
    far = _weighted_mean(lack, negatives, temperature, weight_gradient)
    return RankedLists(distance, positives, negatives, near, far)


def ranked_list_loss(
    embeddings: Tensor,
    labels: Tensor,
    references: References | None = None,
    *,
    alpha: float,
    margin: float,
    temperature: float,
    balance: float,
    positive_temperature: float = 0.0,
    gallery_gradient: bool = False,
    weight_gradient: bool = False,
) -> Tensor:
    """Mean over the queries of (1 - balance) · near + balance · far, of embeddings [B, dim] as they come: a scalar."""
    lists = ranked_lists(
        unit(embeddings),
        labels,
        references._replace(embeddings=unit(references.embeddings)) if references else None,
        alpha=alpha,
        margin=margin,
        temperature=temperature,
        positive_temperature=positive_temperature,
        gallery_gradient=gallery_gradient,
        weight_gradient=weight_gradient,
    )
    return torch.lerp(lists.near, lists.far, balance).mean()


def _weighted_mean(costs: Tensor, chosen: Tensor, temperature: float, weight_gradient: bool) -> Tensor:
    """Mean over the chosen of each row, weights exp(temperature · cost): [B, R] to [B], 0 where none is chosen."""
    with torch.set_grad_enabled(weight_gradient and torch.is_grad_enabled()):
        exponents = torch.where(chosen, temperature * costs, torch.finfo(costs.dtype).min)
        weights = torch.where(chosen, exponents.softmax(1), 0)
    return (weights * costs).sum(1)


def _ranked_list(
    embeddings: Tensor,
    labels: Tensor,
    references: References | None = None,
    *,
    form: str,
    balance: float,
    **settings: Any,
) -> Tensor:
    scale, share = (1.0, balance) if form == "tpami" else (1 + balance, balance / (1 + balance))
    return scale * ranked_list_loss(embeddings, labels, references, balance=share, **settings)
