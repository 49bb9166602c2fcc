"""The Group Loss: the images of a batch agree on their classes, the more the more alike they are."""

from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn import functional as F

from losses.arguments import checked
from losses.class_softmax import linear_scores
from losses.module import Loss
from losses.shape import Shape
from losses.tuned import Tuned

__all__ = ["group"]


@checked
def group(
    shape: Shape,
    *,
    anchors: Annotated[int, Ge(0)] = 2,
    # The paper's own for three datasets are 24, 54 and 79.
    temperature: Annotated[float, Gt(0), Tuned(5, 80, log=True)] = 24.0,
    iterations: Annotated[int, Ge(1)] = 1,
    classification: Annotated[float, Ge(0)] = 1.0,
) -> nn.Module:
    """The Group Loss (Elezi, Vascon, Torcinovich, Pelillo, Leal-Taixé, ECCV 2020, arXiv 1912.00385).

    A linear classifier gives each image a distribution over the classes, its softmax with `temperature`. The first
    `anchors` images of a class, in batch order, have their label instead. Then, `iterations` times, each image
    weighs its distribution by those of the whole batch, in proportion to the similarity of the embeddings (Pearson
    correlation, negative ones 0), and makes it sum to 1. The loss is the negative log-likelihood of the labels, plus
    `classification` times the cross-entropy of the classifier.

    Defaults as for CUB-200-2011 (6 classes × 9 images per batch); Cars196 (5 × 7): 3 anchors, temperature 79; Stanford
    Online Products (10 × 6): 2 anchors, temperature 54. The authors train trunk and classifier with cross-entropy
    alone for ten epochs before, and have no layer between trunk and classifier.

    Trains: a linear classifier.
    Needs: P × K batches.
    """
    if shape.images_per_class is not None and shape.images_per_class <= anchors:
        raise ValueError(
            f"group learns from the images that are no anchors; anchors = {anchors} leaves none of "
            f"{shape.images_per_class} per class: set recipe.images_per_class={anchors + 1} or more, or fewer anchors."
        )
    return Loss(
        shape,
        _group,
        classes=shape.classes,
        classifier=nn.Linear(shape.dim, shape.classes),
        anchors=anchors,
        temperature=temperature,
        iterations=iterations,
        classification=classification,
    )


def correlation(features: Tensor) -> Tensor:
    """Pearson correlation of rows [n, d] with one another, [n, n].

    Of a row whose coordinates are all the same, up to rounding: 0 with others. 1 of every row with itself.
    """
    low, high = features.detach().aminmax(dim=1, keepdim=True)
    constant = high - low <= 8 * torch.finfo(features.dtype).eps * (high.abs() + low.abs())
    size = features.shape[1]
    rows = F.layer_norm(features.masked_fill(constant, 0), (size,), eps=torch.finfo(features.dtype).tiny)
    # Exactly 1 even where rounding or a constant row says less: then no image loses all its classes in refine().
    return (rows @ rows.T / size).fill_diagonal_(1)


def first_of_class(labels: Tensor, count: int) -> Tensor:
    """Mask [n] of the first `count` images of each class, in the order of labels [n]."""
    earlier = (labels[:, None] == labels).tril(-1).sum(1)
    return earlier < count


def refine(distributions: Tensor, similarity: Tensor, iterations: int) -> Tensor:
    """Distributions [n, classes] after each is weighed by what similar images [n, n] say, `iterations` times."""
    for _ in range(iterations):
        support = distributions * (similarity @ distributions)
        distributions = support / support.sum(1, keepdim=True)
    return distributions


def refined(
    features: Tensor, logits: Tensor, labels: Tensor, *, anchors: int, temperature: float, iterations: int
) -> Tensor:
    """Each image's distribution over the classes once the batch has agreed, [n, classes].

    Args:
        features: [n, d].
        logits: [n, classes].
        labels: [n].
        anchors: images per class that have their label for a distribution.
        temperature: of the softmax that gives the others theirs; infinite: all classes alike.
        iterations: how often the batch confers.
    """
    prior = (logits / temperature).softmax(1)
    certain = first_of_class(labels, anchors)[:, None]
    start = prior.masked_fill(certain, 0).scatter_add(1, labels[:, None], certain.to(prior.dtype))
    return refine(start, correlation(features).relu(), iterations)


def group_loss(
    features: Tensor, logits: Tensor, labels: Tensor, *, anchors: int, temperature: float, iterations: int
) -> Tensor:
    """Mean negative log-likelihood of the labels after refinement, arguments as of `refined`: a scalar."""
    final = refined(features, logits, labels, anchors=anchors, temperature=temperature, iterations=iterations)
    return -(final.gather(1, labels[:, None]) + 1e-12).log().mean()


def _group(
    embeddings: Tensor,
    labels: Tensor,
    *,
    classifier: nn.Linear,
    anchors: int,
    temperature: float,
    iterations: int,
    classification: float,
) -> Tensor:
    logits = linear_scores(embeddings, *classifier.parameters())
    loss = group_loss(embeddings, logits, labels, anchors=anchors, temperature=temperature, iterations=iterations)
    return loss + classification * F.cross_entropy(logits, labels) if classification else loss
