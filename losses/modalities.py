"""A loss over the decisions of several modalities, each with a classifier of its own."""

from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn import functional as F

from losses.arguments import checked
from losses.module import Loss
from losses.pairwise import single, unit
from losses.shape import Shape, Unsuitable
from losses.tuned import Tuned

__all__ = ["multimodal"]

LARGEST = 2**28
"""Numbers in the proxies: 1 GiB in single precision, about 4 GiB with the gradient and what Adam keeps."""


@checked
def multimodal(
    shape: Shape,
    *,
    modalities: Annotated[int, Ge(1)] = 2,
    proxies_per_class: Annotated[int, Ge(1)] = 20,
    gamma: Annotated[float, Gt(0), Tuned(0.02, 0.5, log=True)] = 0.1,
) -> nn.Module:
    """MultiModal loss (Moon, Lee, Machine Learning 2025, arXiv 2308.10486).

    A modality is a slice of the embedding with a linear classifier of its own; the first slices are a dimension wider
    where it does not divide. The class probabilities of all modalities, side by side, are compared with proxies of that
    same width, `proxies_per_class` for each class. Cross-entropy of three sums: the probabilities over the modalities,
    the same weighted by the proxies that are attended to, and the cosine similarity with the proxies of each class.
    `gamma` is the temperature of both softmaxes over the proxies. As in the authors' code, this is all that trains the
    classifiers: none has a loss of its own. The logits have no scale, so that with many classes the loss stays above 0,
    and learning rates well above the authors' (0.0005 for everything, the proxies too) can stall it. Proxies grow with
    the square of the number of training classes.

    Trains: a linear classifier per modality, and the proxies.
    """
    if shape.dim < modalities:
        raise ValueError(
            f"multimodal cannot cut {shape.dim} dimensions into {modalities} modalities: "
            f"set recipe.dim={modalities} or more."
        )
    numbers = modalities * shape.classes**2 * proxies_per_class
    if numbers > LARGEST:
        most = LARGEST // (modalities * shape.classes**2)
        fewer = f"set proxies_per_class = {most} or fewer, or train" if most else "train"
        raise Unsuitable(
            f"multimodal would train {numbers:,} numbers in its proxies (modalities · classes² · proxies_per_class),"
            f" more than {LARGEST:,}: {fewer} on fewer classes."
        )
    bound, count = (modalities / shape.dim) ** 0.5, shape.classes * proxies_per_class
    return Loss(
        shape,
        _multimodal,
        classes=shape.classes,
        weight=nn.Parameter(torch.empty(shape.classes, shape.dim).uniform_(-bound, bound)),
        bias=nn.Parameter(torch.empty(modalities, shape.classes).uniform_(-bound, bound)),
        proxies=nn.Parameter(torch.empty(modalities * shape.classes, count).uniform_(-1, 1) / count**0.5),
        gamma=gamma,
    )


def multimodal_logits(probabilities: Tensor, proxies: Tensor, *, modalities: int, gamma: float) -> Tensor:
    """The loss's logits [B, classes].

    Args:
        probabilities: [B, modalities · classes], modality by modality.
        proxies: [modalities · classes, classes · proxies per class], class by class.
        modalities: how many stand side by side.
        gamma: temperature of the softmaxes over the proxies.
    """
    classes = probabilities.shape[1] // modalities
    directions = F.normalize(F.relu(single(proxies)), dim=0)
    cosine = unit(probabilities) @ directions
    scaled = cosine / gamma
    attention = scaled.softmax(1) @ directions.T
    decisions = (probabilities + probabilities * attention).view(-1, modalities, classes).sum(1)
    by_proxy = scaled.view(len(cosine), classes, -1).softmax(1)
    return decisions + (by_proxy * cosine.view_as(by_proxy)).sum(2)


def multimodal_loss(probabilities: Tensor, labels: Tensor, proxies: Tensor, *, modalities: int, gamma: float) -> Tensor:
    """Mean cross-entropy of `multimodal_logits`, a scalar; labels [B]."""
    return F.cross_entropy(multimodal_logits(probabilities, proxies, modalities=modalities, gamma=gamma), labels)


def _multimodal(
    embeddings: Tensor, labels: Tensor, *, weight: Tensor, bias: Tensor, proxies: Tensor, gamma: float
) -> Tensor:
    modalities = len(bias)
    parts, weights = (torch.tensor_split(whole, modalities, dim=1) for whole in (embeddings, weight))
    decided = [F.linear(*each).softmax(1) for each in zip(parts, weights, bias, strict=True)]
    return multimodal_loss(torch.cat(decided, 1), labels, proxies, modalities=modalities, gamma=gamma)
