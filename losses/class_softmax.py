"""Losses that classify the training classes by learned weight vectors; with margins, see angular_softmax.py."""

from itertools import pairwise
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn
from torch.nn import functional as F

from losses.arguments import checked
from losses.module import Loss
from losses.pairwise import single, unit
from losses.shape import Shape, Unsuitable
from losses.tuned import Tuned

__all__ = ["normalized_softmax", "p2s_grad", "soft_triple", "softmax"]


@checked
def softmax(
    shape: Shape,
    *,
    smoothing: Annotated[float, Ge(0), Lt(1), Tuned(0, 0.3)] = 0.0,
    hidden: Annotated[int, Ge(0)] = 0,
    normalize: bool = False,
    initial_weights: Literal["normal", "eighth", "uniform", "kaiming_normal"] | None = None,
) -> nn.Module:
    """Softmax (Boudiaf, Rony, Ziko, Granger, Pedersoli, Piantanida, Ben Ayed, ECCV 2020, arXiv 2003.08983).

    Cross-entropy of a linear classifier with bias on the embedding as given, or, with `normalize`, on the L2-normalised
    one; `hidden` units with ReLU before it, if any, make it two layers. The target is 1 - `smoothing` for the own class
    and the rest in equal parts for the others: the authors' code takes 0.1, the ensembles of arXiv 2107.01130 take
    0.15. (Szegedy et al., CVPR 2016, arXiv 1512.00567, and torch give the own class an equal part of the rest as well.)
    `initial_weights`, of the classes, are "uniform" as in torch unless given, see `normalized_softmax`.

    Trains: one weight vector and bias per class (and the hidden layer, if any).
    """
    if smoothing and smoothing >= 1 - 1 / shape.classes:
        raise Unsuitable(f"softmax with smoothing {smoothing} leaves the own class of {shape.classes} no lead.")
    widths = [shape.dim, hidden, shape.classes] if hidden else [shape.dim, shape.classes]
    layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))
    if initial_weights:
        layers[-1].weight = class_weights(Shape(widths[-2], shape.classes), initial=initial_weights)
    return Loss(shape, _softmax, classes=shape.classes, layers=layers, smoothing=smoothing, normalize=normalize)


@checked
def normalized_softmax(
    shape: Shape,
    *,
    temperature: Annotated[float, Gt(0), Tuned(0.02, 0.5, log=True)] = 0.05,
    initial_weights: Literal["normal", "eighth", "uniform", "kaiming_normal"] | None = None,
) -> nn.Module:
    """Normalized softmax (Zhai, Wu, BMVC 2019, arXiv 1811.12649).

    Cross-entropy of the cosine similarities with the class weights, divided by `temperature`.

    `initial_weights`: "normal", of deviation 1 / √dim and so of length about 1, unless given; "eighth", normal of
    deviation 1/8, as in the code of ProxyNCA++; "uniform" between ±1 / √dim, as in torch's linear layers;
    "kaiming_normal" of deviation √(2 / vectors), as in that of Proxy Anchor. What is L2-normalised does not depend on
    its length, but learns the more slowly at a given rate the longer it is.

    Trains: one weight vector per class.
    """
    weight = class_weights(shape, initial=initial_weights)
    return Loss(shape, _normalized_softmax, classes=shape.classes, weight=weight, temperature=temperature)


@checked
def p2s_grad(shape: Shape) -> nn.Module:
    """P2SGrad (Zhang, Zhao, Yan, Gao, Qiao, Wang, Li, CVPR 2019, arXiv 1905.02479).

    The paper gives a gradient, that of the cosine similarities with the class weights, each times its distance from
    its goal: 1 for the own class, 0 for others. It is the gradient of half the sum over the classes of the squares of
    these distances, which is the value here, in the mean over the images. pytorch-metric-learning takes the mean over
    the classes too, so that its gradient is smaller by half the number of classes, and does not differentiate the
    weights' normalisation.

    Trains: one weight vector per class.
    """
    return Loss(shape, _p2s_grad, classes=shape.classes, weight=class_weights(shape))


@checked
def soft_triple(
    shape: Shape,
    *,
    scale: Annotated[float, Gt(0), Tuned(5, 50, log=True)] = 20.0,
    gamma: Annotated[float, Gt(0)] = 0.1,
    tau: Annotated[float, Ge(0)] = 0.2,
    margin: Annotated[float, Ge(0), Lt(2), Tuned(0, 0.3)] = 0.01,
    centers: Annotated[int, Ge(1)] = 10,
    normalize: bool = True,
    initial_weights: Literal["normal", "eighth", "uniform", "kaiming_normal"] | None = None,
) -> nn.Module:
    """SoftTriple (Qian, Shang, Sun, Hu, Li, Jin, ICCV 2019, arXiv 1909.05235).

    Every class has several `centers`. The similarity with a class is the mean of the cosine similarities with its
    centers, weighted by their softmax at temperature `gamma`; `scale` (lambda in the paper) times these, less `margin`
    for the own class, go to the cross-entropy. `tau` weighs the mean distance between the centers of a class (summed
    over pairs and divided by twice their number), so that a class keeps no more centers than it needs. Without
    `normalize` the embeddings are taken as given. The authors train the centers at 100 times the learning rate of the
    trunk. (pytorch-metric-learning leaves the term of `tau` away unless told.) `initial_weights`, of the centers, are
    as of `normalized_softmax`.

    Trains: `centers` vectors per class.
    """
    return Loss(
        shape,
        _soft_triple,
        classes=shape.classes,
        centers=class_weights(shape, centers, initial_weights),
        per_class=centers,
        scale=scale,
        gamma=gamma,
        tau=tau,
        margin=margin,
        normalize=normalize,
    )


def class_weights(shape: Shape, each: int = 1, initial: str | None = None) -> nn.Parameter:
    """So many random vectors for each class, [each · classes, dim].

    Row k · classes + c is vector k of class c: what is worked out over the vectors of a class then runs along memory.
    "normal", the default, is of deviation 1 / √dim, "eighth" of 1/8, "kaiming_normal" of √(2 / rows); "uniform" is
    between ±1 / √dim.
    """
    size, length = (each * shape.classes, shape.dim), shape.dim**0.5
    match initial:
        case "eighth":
            weights = torch.randn(size) / 8
        case "uniform":
            weights = torch.empty(size).uniform_(-1 / length, 1 / length)
        case "kaiming_normal":
            weights = nn.init.kaiming_normal_(torch.empty(size), mode="fan_out")
        case _:
            weights = torch.randn(size) / length
    return nn.Parameter(weights)


def smooth_cross_entropy(logits: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of logits [B, C] with targets 1 - smoothing for the own class, smoothing / (C - 1) for others.

    The smoothing may be at most (C - 1) / C, where all targets are alike.
    """
    classes = logits.shape[1]
    # torch spreads its smoothing over all classes, the own one among them.
    return F.cross_entropy(logits, labels, label_smoothing=smoothing * classes / max(classes - 1, 1))


def linear_scores(features: Tensor, weight: Tensor, bias: Tensor, *others: Tensor) -> Tensor:
    """Scores [B, C] of features [B, dim] by a linear layer, weight [out, dim] and bias [out].

    The others are weight and bias of further layers, with ReLU between.
    """
    scores = F.linear(single(features), single(weight), single(bias))
    return linear_scores(F.relu(scores), *others) if others else scores


def _softmax(embeddings: Tensor, labels: Tensor, *, layers: nn.ModuleList, smoothing: float, normalize: bool) -> Tensor:
    logits = linear_scores(unit(embeddings) if normalize else embeddings, *layers.parameters())
    return smooth_cross_entropy(logits, labels, smoothing=smoothing)


def _normalized_softmax(embeddings: Tensor, labels: Tensor, *, weight: Tensor, temperature: float) -> Tensor:
    return F.cross_entropy(1 / temperature * (unit(embeddings) @ unit(weight).T), labels)


def _p2s_grad(embeddings: Tensor, labels: Tensor, *, weight: Tensor) -> Tensor:
    cosine = unit(embeddings) @ unit(weight).T
    lack = cosine.scatter_add(1, labels[:, None], cosine.new_full((len(labels), 1), -1))
    return lack.square().sum() / (2 * len(labels))


def _soft_triple(
    embeddings: Tensor,
    labels: Tensor,
    *,
    centers: Tensor,
    per_class: int,
    scale: float,
    gamma: float,
    tau: float,
    margin: float,
    normalize: bool,
) -> Tensor:
    points, directions = unit(embeddings) if normalize else embeddings, unit(centers)
    cosine = (points @ directions.T).view(len(points), per_class, -1)
    similarity = ((cosine / gamma).softmax(1) * cosine).sum(1)
    lowered = similarity.scatter_add(1, labels[:, None], similarity.new_full((len(labels), 1), -margin))
    cost = F.cross_entropy(scale * lowered, labels)
    return cost + tau * _spread(directions, per_class) if tau and per_class > 1 else cost


def _spread(centers: Tensor, per_class: int) -> Tensor:
    """Half the mean distance of two centers of a class."""
    by_class = centers.view(per_class, -1, centers.shape[1]).transpose(0, 1)
    # The addend, the authors', keeps the root's slope finite where two centers meet.
    distance = (2 + 1e-5 - 2 * by_class @ by_class.mT).sqrt()
    return distance.triu(1).sum() / (len(centers) * (per_class - 1))
