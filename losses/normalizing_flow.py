"""A proxy loss that keeps the images of a class apart: a normalizing flow must find each image given its proxy."""

from itertools import pairwise
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from losses.arguments import checked
from losses.class_softmax import class_weights, linear_scores
from losses.module import Loss
from losses.pairwise import log_one_plus_sum, single, unit
from losses.shape import Shape
from losses.tuned import Tuned

__all__ = ["nir"]


@checked
def nir(
    shape: Shape,
    *,
    # The authors' own for three datasets are 0.0075, 0.01 and 0.3.
    alignment: Annotated[float, Ge(0), Tuned(0.003, 0.3, log=True)] = 0.01,
    positive_alpha: Annotated[float, Gt(0)] = 32.0,
    negative_alpha: Annotated[float, Gt(0)] = 32.0,
    positive_delta: float = 0.1,
    negative_delta: float = -0.1,
    blocks: Annotated[int, Ge(1)] = 5,
    depth: Annotated[int, Ge(2)] = 8,
    width: Annotated[int, Ge(1)] = 128,
    clamp: Annotated[float, Gt(0)] = 2.0,
    normalize: bool = True,
) -> nn.Module:
    """NIR, non-isotropy regularisation (Roth, Vinyals, Akata, CVPR 2022, arXiv 2203.08547).

    A normalizing flow, told the L2-normalised proxy of its class, maps an L2-normalised embedding z to a point of a
    standard normal distribution, so that the proxy and what is left of the image determine each other. An image costs
    exp(its negative log-likelihood, without the constant). The flow has `blocks` blocks, each a fixed random
    permutation of the coordinates and two affine couplings; a coupling's network has `depth` layers, `width` units in
    each but the last, and its log-scale stays within `clamp`. Without `normalize` the embeddings go into the flow as
    given.

    To the mean over images comes `alignment` times a Proxy Anchor loss with cosine similarities s: the mean over the
    images of log(1 + sum over their class of exp(-positive_alpha · (s - positive_delta))), plus the mean over all
    classes of log(1 + sum over other classes' images of exp(negative_alpha · (s - negative_delta))). Proxy Anchor
    itself takes the first mean over the classes present. Defaults as for Cars196; `alignment` is 0.0075 for
    CUB-200-2011, 0.3 for Stanford Online Products. The exponential, by which unlikely images dominate, and the mean
    over images are those of the authors' code. They let the trunk rest for the first epoch; that, and the noise that
    their code can add to embeddings, are not part of the loss.

    Trains: one proxy per class, and the normalizing flow.
    """
    if shape.dim < 2:
        raise ValueError("nir cuts an embedding into two halves: set recipe.dim=2 or more.")
    first = round(shape.dim / 2)
    halves = [(first, shape.dim - first), (shape.dim - first, first)] * blocks
    return Loss(
        shape,
        _nir,
        classes=shape.classes,
        proxies=class_weights(shape),
        networks=nn.ModuleList(_layers(seen + shape.dim, 2 * moved, depth, width) for seen, moved in halves),
        permutations=torch.stack([torch.randperm(shape.dim) for _ in range(blocks)]),
        alignment=alignment,
        positive_alpha=positive_alpha,
        negative_alpha=negative_alpha,
        positive_delta=positive_delta,
        negative_delta=negative_delta,
        clamp=clamp,
        normalize=normalize,
    )


def surprise(
    points: Tensor, conditions: Tensor, networks: nn.ModuleList, permutations: Tensor, *, clamp: float = 2.0
) -> Tensor:
    """Negative log-likelihoods [B] of points [B, dim] by the flow, less the constant dim / 2 · log(2 pi).

    Args:
        points: as they are to go into the flow.
        conditions: [B, dim], what the flow is told of each.
        networks: two for each block, each a list of linear layers. The first makes of the first half of the
            coordinates and the condition a log-scale and a shift of the second half, and the second the other way.
        permutations: [blocks, dim]; number k of them is the old place of coordinate k.
        clamp: bound of the log-scales, but for the rounding of 2 / pi to 0.636 as in the authors' code.
    """
    log_volume = points.new_zeros(len(points))
    for of_first, of_second, permutation in zip(networks[::2], networks[1::2], permutations.unbind(), strict=True):
        first, second = points.index_select(1, permutation).tensor_split([round(points.shape[1] / 2)], 1)
        first, stretch = _coupled(first, torch.cat([second, conditions], 1), of_second, clamp)
        log_volume = log_volume + stretch
        second, stretch = _coupled(second, torch.cat([first, conditions], 1), of_first, clamp)
        log_volume = log_volume + stretch
        points = torch.cat([first, second], 1)
    return points.square().sum(1) / 2 - log_volume


def alignment_loss(
    embeddings: Tensor,
    labels: Tensor,
    proxies: Tensor,
    *,
    positive_alpha: float = 32.0,
    negative_alpha: float = 32.0,
    positive_delta: float = 0.1,
    negative_delta: float = -0.1,
) -> Tensor:
    """The Proxy Anchor loss of `nir`, a scalar; embeddings [B, dim], labels [B], proxies [classes, dim]."""
    cosine = unit(proxies) @ unit(embeddings).T
    own = torch.arange(len(proxies), device=labels.device)[:, None] == labels
    near = log_one_plus_sum(-positive_alpha * (cosine - positive_delta), own)
    far = log_one_plus_sum(negative_alpha * (cosine - negative_delta), ~own)
    return near.index_select(0, labels).mean() + far.mean()


def _nir(
    embeddings: Tensor,
    labels: Tensor,
    *,
    proxies: Tensor,
    networks: nn.ModuleList,
    permutations: Tensor,
    alignment: float,
    clamp: float,
    normalize: bool,
    **alphas_and_deltas: float,
) -> Tensor:
    points = unit(embeddings) if normalize else single(embeddings)
    cost = surprise(points, unit(proxies).index_select(0, labels), networks, permutations, clamp=clamp).exp().mean()
    return cost + alignment * alignment_loss(embeddings, labels, proxies, **alphas_and_deltas)


def _layers(inputs: int, outputs: int, depth: int, width: int) -> nn.ModuleList:
    widths = [inputs, *[width] * (depth - 1), outputs]
    return nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))


def _coupled(moved: Tensor, seen: Tensor, network: nn.Module, clamp: float) -> tuple[Tensor, Tensor]:
    """Coordinates [B, d] scaled and shifted by what is seen, and the logarithm of the change of volume [B]."""
    raw, shift = linear_scores(seen, *network.parameters()).chunk(2, 1)
    log_scale = clamp * 0.636 * raw.arctan()
    return log_scale.exp() * moved + shift, log_scale.sum(1)
