"""Losses that compare embeddings with one learned proxy per class."""

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from losses.arguments import checked
from losses.class_softmax import class_weights
from losses.module import Loss
from losses.pairwise import log_one_plus_sum, unit
from losses.shape import Shape, Unsuitable
from losses.tuned import Tuned

__all__ = ["proxy_anchor", "proxy_nca"]


@checked
def proxy_nca(
    shape: Shape,
    *,
    embedding_scale: Annotated[float, Gt(0), Tuned(1, 8, log=True)] = 1.0,
    proxy_scale: Annotated[float, Gt(0), Tuned(1, 8, log=True)] = 1.0,
    smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0,
    positive_in_denominator: bool = False,
    initial_weights: Literal["normal", "eighth", "uniform", "kaiming_normal"] | None = None,
) -> nn.Module:
    """Proxy-NCA (Movshovitz-Attias, Toshev, Leung, Ioffe, Singh, ICCV 2017, arXiv 1703.07464).

    Negative log-likelihood of the own proxy, over squared Euclidean distances of embeddings and proxies that are
    L2-normalised and then scaled. In the paper the own proxy is left out of the denominator; most later code keeps it
    (`positive_in_denominator`), often with proxies three times as long and label `smoothing` 0.1. ProxyNCA++ (Teh,
    DeVries, Taylor, ECCV 2020, arXiv 2004.01113), with its temperature of 1/9, is `positive_in_denominator` with both
    scales 3, the root of 9. `initial_weights`, of the proxies, are as of `normalized_softmax`; "eighth" in the code of
    the latter. Two classes or more.

    Trains: one proxy per class.
    """
    if shape.classes < 2:
        raise Unsuitable("proxy_nca pushes images off the proxies of other classes: train on two classes or more.")
    return Loss(
        shape,
        _proxy_nca,
        classes=shape.classes,
        proxies=class_weights(shape, initial=initial_weights),
        embedding_scale=embedding_scale,
        proxy_scale=proxy_scale,
        smoothing=smoothing,
        positive_in_denominator=positive_in_denominator,
    )


@checked
def proxy_anchor(
    shape: Shape,
    *,
    # About what the paper compares both over.
    margin: Annotated[float, Ge(0), Tuned(0, 0.4)] = 0.1,
    alpha: Annotated[float, Gt(0), Tuned(8, 64, log=True)] = 32.0,
    initial_weights: Literal["normal", "eighth", "uniform", "kaiming_normal"] | None = None,
) -> nn.Module:
    """Proxy Anchor (Kim, Kim, Cho, Kwak, CVPR 2020, arXiv 2003.13911).

    Each proxy is an anchor over the whole batch: `margin` is added to both sides of its cosine similarities (delta in
    the paper), `alpha` scales them. The authors train the proxies at 100 times the learning rate of the trunk.
    `initial_weights`, of the proxies, are "kaiming_normal" as in their code unless given, see `normalized_softmax`.

    Trains: one proxy per class.
    """
    proxies = class_weights(shape, initial=initial_weights or "kaiming_normal")
    return Loss(shape, _proxy_anchor, classes=shape.classes, proxies=proxies, margin=margin, alpha=alpha)


def _proxy_nca(
    embeddings: Tensor,
    labels: Tensor,
    *,
    proxies: Tensor,
    embedding_scale: float,
    proxy_scale: float,
    smoothing: float,
    positive_in_denominator: bool,
) -> Tensor:
    a, b, own = embedding_scale, proxy_scale, labels[:, None]
    closeness = -(a * a + b * b - 2 * a * b * unit(embeddings) @ unit(proxies).T)
    others = closeness if positive_in_denominator else closeness.scatter(1, own, -torch.inf)
    spread = smoothing / (len(proxies) - 1)
    of_own = (1 - smoothing - spread) * closeness.gather(1, own).squeeze(1)
    return (others.logsumexp(1) - of_own - spread * closeness.sum(1)).mean()


def _proxy_anchor(embeddings: Tensor, labels: Tensor, *, proxies: Tensor, margin: float, alpha: float) -> Tensor:
    cosine = unit(proxies) @ unit(embeddings).T
    own = torch.arange(len(proxies), device=labels.device)[:, None] == labels
    near = log_one_plus_sum(-alpha * (cosine - margin), own)
    far = log_one_plus_sum(alpha * (cosine + margin), ~own)
    return near.sum() / own.any(1).sum() + far.mean()
