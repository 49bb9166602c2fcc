"""A loss that makes further classes in every batch: mixtures of images, and of the proxies of their classes."""

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn import functional as F

from losses.arguments import checked
from losses.class_softmax import class_weights
from losses.module import Loss
from losses.pairwise import unit
from losses.shape import Shape
from losses.tuned import Tuned

__all__ = ["proxy_synthesis"]


@checked
def proxy_synthesis(
    shape: Shape,
    *,
    form: Literal["softmax", "nca"] = "softmax",
    scale: Annotated[float, Gt(0), Tuned(5, 50, log=True)] = 23.0,
    alpha: Annotated[float, Gt(0), Tuned(0.1, 2, log=True)] = 0.4,
    mu: Annotated[float, Ge(0)] = 1.0,
) -> nn.Module:
    """Proxy Synthesis (Gu, Ko, Kim, AAAI 2021, arXiv 2103.15454).

    Classification by proxies, all L2-normalised, with classes that are made for the batch: lambda of an image and
    1 - lambda of its neighbour is an image of a class whose proxy is the same mixture of the proxies of both. All
    images, the mixed ones too, are compared with all proxies. `mu` is the number of mixed images per image, 1 at most.
    Lambda is drawn for each batch from Beta(`alpha`, `alpha`). Cross-entropy of `scale` times the cosine similarities
    ("softmax"), or of -`scale` times the squared distances ("nca", with the own proxy in the denominator), which is
    the same at twice the scale. The authors take 23 for "softmax" and 12 for "nca".

    Two neighbours of one class would make a second proxy of that class, to be told from the first. So the images take
    turns: the first of each class, in batch order, then the second of each, and so on. The authors' training swaps
    images until all neighbours differ, or 50 times.

    Trains: one proxy per class.
    """
    return Loss(
        shape,
        _proxy_synthesis,
        classes=shape.classes,
        proxies=class_weights(shape),
        form=form,
        scale=scale,
        alpha=alpha,
        mu=mu,
    )


def proxy_synthesis_loss(
    embeddings: Tensor,
    labels: Tensor,
    proxies: Tensor,
    mix: Tensor | float,
    *,
    form: str = "softmax",
    scale: float = 23.0,
    mu: float = 1.0,
) -> Tensor:
    """The loss, a scalar, where lambda is `mix` and the neighbour of an image is the one before it, as they come.

    Args:
        embeddings: [B, dim]; the neighbour of the first is the last.
        labels: [B].
        proxies: [classes, dim].
        mix: from 0 to 1.
        form: "softmax" or "nca".
        scale: of the logits.
        mu: mixed images per image.
    """
    points, directions = unit(embeddings), unit(proxies)
    made = synthetic(len(points), mu)
    images, targets = _mixed(points, mix)[:made], torch.arange(made, device=labels.device) + len(proxies)
    classes = _mixed(directions.index_select(0, labels), mix)[:made]
    cosine = torch.cat([points, unit(images)]) @ torch.cat([directions, unit(classes)]).T
    logits = scale * cosine if form == "softmax" else -scale * (2 - 2 * cosine)
    return F.cross_entropy(logits, torch.cat([labels, targets]))


def synthetic(images: int, mu: float) -> int:
    """How many images are made of so many."""
    return min(images, int(images * (1 + mu)) - images)


def in_turns(labels: Tensor) -> Tensor:
    """An order [B] of labels [B]: the first of each class, then the second of each; classes by their numbers."""
    earlier = (labels[:, None] == labels).tril(-1).sum(1)
    return (earlier * (labels.max() + 1) + labels).argsort()


def _mixed(rows: Tensor, mix: Tensor | float) -> Tensor:
    return mix * rows + (1 - mix) * rows.roll(1, 0)


def _proxy_synthesis(
    embeddings: Tensor, labels: Tensor, *, proxies: Tensor, form: str, scale: float, alpha: float, mu: float
) -> Tensor:
    # Drawn in one precision, on the processor: the same number whatever the batch is computed in.
    shares = torch.full((2,), alpha, dtype=torch.float64, device="cpu")
    mix = torch.distributions.Beta(shares[0], shares[1]).sample()
    order = in_turns(labels)
    return proxy_synthesis_loss(embeddings[order], labels[order], proxies, mix, form=form, scale=scale, mu=mu)
