"""A loss that asks of each pair alone whether it is of one class, by a sigmoid whose scale and bias are learned."""

import math
from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.linalg import vector_norm

from losses.arguments import checked
from losses.module import Loss
from losses.pairwise import References, mean_of, once, pairs, single, softplus
from losses.shape import Shape
from losses.tuned import Tuned

__all__ = ["siglip"]


@checked
def siglip(
    shape: Shape,
    *,
    # What the paper compares both over: 1 and 10, and -10 to 10.
    scale: Annotated[float, Gt(0), Tuned(1, 30, log=True)] = 10.0,
    bias: Annotated[float, Tuned(-10, 0)] = -10.0,
    self_pairs: bool = False,
) -> nn.Module:
    """SigLIP (Zhai, Mustafa, Kolesnikov, Beyer, ICCV 2023, arXiv 2303.15343).

    A pair of cosine similarity s costs log(1 + exp(-z · (scale · s + bias))), z = 1 in a class and -1 across classes.
    `scale` and `bias` are where both start: they are learned, the scale by its logarithm. The paper has pairs of an
    image and a text, each text of its one image; here both sides are images, and all of a class belong together. The
    value is the mean over all ordered pairs, where the paper sums up over the second of a pair, so that its value grows
    with the batch. An image is no pair with itself, unless with `self_pairs`: then that counts as a positive.

    Trains: the logarithm of the scale, and the bias.
    Needs: P × K batches.
    """
    return Loss(
        shape,
        _siglip,
        classes=shape.classes,
        log_scale=nn.Parameter(torch.tensor(math.log(scale))),
        bias=nn.Parameter(torch.tensor(float(bias))),
        self_pairs=self_pairs,
    )


def _siglip(
    embeddings: Tensor,
    labels: Tensor,
    references: References | None = None,
    *,
    log_scale: Tensor,
    bias: Tensor,
    self_pairs: bool,
) -> Tensor:
    points = once(_scaled, embeddings)
    others = once(_scaled, references.embeddings) if references else points
    positive, negative = pairs(labels, references)
    logit = log_scale.exp() * (points @ others.T) + bias
    cost = softplus(torch.where(negative, logit, -logit))
    return cost.mean() if self_pairs else mean_of(cost, positive | negative)


def _scaled(points: Tensor) -> Tensor:
    points = single(points)
    # The addend is the authors'; it tells in double precision only.
    scaled: Tensor = points / (vector_norm(points, dim=1, keepdim=True) + 1e-8)
    return scaled
