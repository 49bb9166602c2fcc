"""Losses over the pairs of a batch; none has parameters to train."""

from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn import functional as F

from losses.matrix import References, distances, log_one_plus_sum, pairs, unit
from losses.shape import Shape

__all__ = ["contrastive", "multi_similarity"]


def contrastive(
    shape: Shape,  # noqa: ARG001
    *,
    positive_margin: Annotated[float, Ge(0)] = 0.0,
    negative_margin: Annotated[float, Gt(0)] = 1.0,
    squared: bool = True,
) -> nn.Module:
    """Contrastive (Hadsell, Chopra, LeCun, CVPR 2006).

    Pairs of a class are pulled to within `positive_margin`, others pushed beyond `negative_margin`, in Euclidean
    distance of the L2-normalised embeddings (at most 2). A pair costs half the square of what it lacks, or, without
    `squared`, what it lacks. The two kinds are averaged apart, each over the pairs that cost anything.

    Needs: P × K batches.
    """
    return _Contrastive(positive_margin, negative_margin, squared)


def multi_similarity(
    shape: Shape,  # noqa: ARG001
    *,
    alpha: Annotated[float, Gt(0)] = 2.0,
    beta: Annotated[float, Gt(0)] = 50.0,
    base: float = 0.5,
    epsilon: float = 0.1,
) -> nn.Module:
    """Multi-Similarity (Wang, Han, Huang, Dong, Scott, CVPR 2019, arXiv 1904.06627).

    Cosine similarities; `alpha` and `beta` scale positive and negative pairs, `base` is where both turn (0.5 as in the
    authors' code). Mined as in the paper: a positive counts if it is less similar than the most
    similar negative plus `epsilon`, a negative if it is more similar than the least similar positive minus `epsilon`.

    Needs: P × K batches.
    """
    return _MultiSimilarity(alpha, beta, base, epsilon)


class _Contrastive(nn.Module):
    def __init__(self, positive_margin: float, negative_margin: float, squared: bool) -> None:
        super().__init__()
        self.positive_margin = positive_margin
        self.negative_margin = negative_margin
        self.squared = squared

    def forward(self, embeddings: Tensor, labels: Tensor, references: References | None = None) -> Tensor:
        points = unit(embeddings)
        distance = distances(points, unit(references.embeddings) if references else points)
        positive, negative = pairs(labels, references)
        near = self.cost(distance - self.positive_margin, positive)
        return near + self.cost(self.negative_margin - distance, negative)

    def cost(self, lack: Tensor, chosen: Tensor) -> Tensor:
        lack = F.relu(lack).masked_fill(~chosen, 0)
        cost = lack.square() / 2 if self.squared else lack
        return cost.sum() / (lack > 0).sum().clamp(min=1)


class _MultiSimilarity(nn.Module):
    def __init__(self, alpha: float, beta: float, base: float, epsilon: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.base = base
        self.epsilon = epsilon

    def forward(self, embeddings: Tensor, labels: Tensor, references: References | None = None) -> Tensor:
        points = unit(embeddings)
        similarity = points @ (unit(references.embeddings) if references else points).T
        positive, negative = self.mine(similarity.detach(), *pairs(labels, references))
        near = log_one_plus_sum(-self.alpha * (similarity - self.base), positive) / self.alpha
        far = log_one_plus_sum(self.beta * (similarity - self.base), negative) / self.beta
        return (near + far).mean()

    def mine(self, similarity: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        furthest = similarity.masked_fill(~positive, torch.inf).amin(1, keepdim=True)
        nearest = similarity.masked_fill(~negative, -torch.inf).amax(1, keepdim=True)
        hard_positive = positive & (similarity - self.epsilon < nearest)
        hard_negative = negative & (similarity + self.epsilon > furthest)
        return hard_positive, hard_negative
