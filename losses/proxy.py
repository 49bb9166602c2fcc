"""Losses that compare embeddings with one learned proxy a class."""

from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from losses.matrix import log_one_plus_sum, unit
from losses.shape import Shape, Unsuitable

__all__ = ["proxy_anchor", "proxy_nca"]


def proxy_nca(
    shape: Shape,
    *,
    embedding_scale: Annotated[float, Gt(0)] = 1.0,
    proxy_scale: Annotated[float, Gt(0)] = 1.0,
    smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0,
    positive_in_denominator: bool = False,
) -> nn.Module:
    """Proxy-NCA (Movshovitz-Attias, Toshev, Leung, Ioffe, Singh, ICCV 2017, arXiv 1703.07464).

    Negative log-likelihood of the own proxy, over squared Euclidean distances of embeddings and proxies that are
    L2-normalised and then scaled. In the paper the own proxy is left out of the denominator; most later code keeps it
    (`positive_in_denominator`), often with proxies three times as long and label `smoothing` 0.1. ProxyNCA++ (Teh,
    DeVries, Taylor, ECCV 2020, arXiv 2004.01113), with its temperature of 1/9, is `positive_in_denominator` with both
    scales 3, the root of 9. Two classes or more.

    Trains: one proxy a class.
    """
    if shape.classes < 2:
        raise Unsuitable("proxy_nca pushes images off the proxies of other classes: train on two classes or more.")
    return _ProxyNCA(shape, embedding_scale, proxy_scale, smoothing, positive_in_denominator)


def proxy_anchor(
    shape: Shape,
    *,
    margin: Annotated[float, Ge(0)] = 0.1,
    alpha: Annotated[float, Gt(0)] = 32.0,
) -> nn.Module:
    """Proxy Anchor (Kim, Kim, Cho, Kwak, CVPR 2020, arXiv 2003.13911).

    Each proxy is an anchor over the whole batch: `margin` is added to both sides of its cosine similarities (delta in
    the paper), `alpha` scales them. The authors train the proxies at 100 times the learning rate of the trunk.

    Trains: one proxy a class.
    """
    return _ProxyAnchor(shape, margin, alpha)


class _ProxyNCA(nn.Module):
    def __init__(self, shape: Shape, embedding_scale: float, proxy_scale: float, smoothing: float, keep: bool) -> None:
        super().__init__()
        self.proxies = nn.Parameter(torch.randn(shape.classes, shape.dim) / shape.dim**0.5)
        self.embedding_scale = embedding_scale
        self.proxy_scale = proxy_scale
        self.smoothing = smoothing
        self.positive_in_denominator = keep

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        closeness, own = -self.squared_distances(embeddings), labels[:, None]
        others = closeness if self.positive_in_denominator else closeness.scatter(1, own, -torch.inf)
        spread = self.smoothing / (len(self.proxies) - 1)
        of_own = (1 - self.smoothing - spread) * closeness.gather(1, own).squeeze(1)
        return (others.logsumexp(1) - of_own - spread * closeness.sum(1)).mean()

    def squared_distances(self, embeddings: Tensor) -> Tensor:
        a, b = self.embedding_scale, self.proxy_scale
        return a * a + b * b - 2 * a * b * unit(embeddings) @ unit(self.proxies).T


class _ProxyAnchor(nn.Module):
    def __init__(self, shape: Shape, margin: float, alpha: float) -> None:
        super().__init__()
        self.proxies = nn.Parameter(torch.empty(shape.classes, shape.dim))
        nn.init.kaiming_normal_(self.proxies, mode="fan_out")
        self.margin = margin
        self.alpha = alpha

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        cosine = unit(self.proxies) @ unit(embeddings).T
        own = torch.arange(len(self.proxies), device=labels.device)[:, None] == labels
        near = log_one_plus_sum(-self.alpha * (cosine - self.margin), own)
        far = log_one_plus_sum(self.alpha * (cosine + self.margin), ~own)
        return near.sum() / own.any(1).sum() + far.mean()
