"""Losses over the pairs and triplets of a batch; none has parameters to train."""

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn import functional as F

from losses.shape import Shape

__all__ = ["contrastive", "multi_similarity", "triplet"]


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
    """
    return _Contrastive(positive_margin, negative_margin, squared)


def triplet(
    shape: Shape,  # noqa: ARG001
    *,
    margin: Annotated[float, Gt(0)] = 0.2,
    mining: Literal["semihard", "hard", "all", "batch_hard"] = "semihard",
    band: Annotated[float, Gt(0)] | None = None,
    squared: bool = True,
    normalize: bool = True,
) -> nn.Module:
    """Triplet (FaceNet: Schroff, Kalenichenko, Philbin, CVPR 2015, arXiv 1503.03832).

    The mean of max(0, margin - t), t = d(anchor, negative) - d(anchor, positive), over the triplets kept by `mining`:
    "semihard" 0 < t <= band, "hard" t <= 0, "all" t <= band, where `band` is the margin unless it is given and less.
    "batch_hard" (Hermans, Beyer, Leibe, arXiv 1703.07737) takes the furthest positive and the nearest negative of
    every anchor that has both. Distances are squared Euclidean as in the paper, or Euclidean without `squared`, of the
    L2-normalised embeddings, or, without `normalize`, of the embeddings as given. Memory grows with the square of the
    batch, not with the number of triplets.
    """
    return _Triplet(margin, mining, margin if band is None else min(band, margin), squared, normalize)


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
    """
    return _MultiSimilarity(alpha, beta, base, epsilon)


def distances(points: Tensor, *, squared: bool = False) -> Tensor:
    """Euclidean distances [B, B] of points [B, dim]; 0, with gradient 0, where two agree up to rounding."""
    norms = points.square().sum(1)
    scale = norms[:, None] + norms
    square = scale - 2 * points @ points.T
    # Below the rounding of the inner product a distance is noise, and the gradient of its root explodes.
    same = square <= 8 * torch.finfo(points.dtype).eps * scale
    if squared:
        return square.masked_fill(same, 0)
    return square.masked_fill(same, 1).sqrt().masked_fill(same, 0)


def pairs(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Masks [B, B] of the positive pairs, an item with itself left out, and of the negative pairs."""
    same = labels[:, None] == labels
    return same.clone().fill_diagonal_(False), ~same


def log_one_plus_sum(exponents: Tensor, chosen: Tensor) -> Tensor:
    """log(1 + sum over the chosen of exp), a row at a time, [M, N] to [M]; 0 for a row with none chosen."""
    exponents = exponents.masked_fill(~chosen, -torch.inf)
    return torch.cat([exponents, exponents.new_zeros(len(exponents), 1)], 1).logsumexp(1)


class _Contrastive(nn.Module):
    def __init__(self, positive_margin: float, negative_margin: float, squared: bool) -> None:
        super().__init__()
        self.positive_margin = positive_margin
        self.negative_margin = negative_margin
        self.squared = squared

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        distance = distances(F.normalize(embeddings))
        positive, negative = pairs(labels)
        near = self.cost(distance - self.positive_margin, positive)
        return near + self.cost(self.negative_margin - distance, negative)

    def cost(self, lack: Tensor, chosen: Tensor) -> Tensor:
        lack = F.relu(lack).masked_fill(~chosen, 0)
        cost = lack.square() / 2 if self.squared else lack
        return cost.sum() / (lack > 0).sum().clamp(min=1)


class _Triplet(nn.Module):
    def __init__(self, margin: float, mining: str, band: float, squared: bool, normalize: bool) -> None:
        super().__init__()
        self.margin = margin
        self.mining = mining
        self.low = 0.0 if mining == "semihard" else -torch.inf
        self.high = 0.0 if mining == "hard" else band
        self.squared = squared
        self.normalize = normalize

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        points = F.normalize(embeddings) if self.normalize else embeddings
        distance = distances(points, squared=self.squared)
        if self.mining == "batch_hard":
            return self.batch_hard(distance, *pairs(labels))
        return self.mean(distance, *pairs(labels))

    def batch_hard(self, distance: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        furthest = distance.masked_fill(~positive, -torch.inf).amax(1)
        nearest = distance.masked_fill(~negative, torch.inf).amin(1)
        anchors = positive.any(1) & negative.any(1)
        return F.relu(self.margin + furthest - nearest).sum() / anchors.sum().clamp(min=1)

    def mean(self, distance: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """A sum over triplets is linear in the distances, so it is enough to count how often each of them occurs."""
        with torch.no_grad():
            as_positive, as_negative = self.occurrences(distance.double(), positive, negative)
            kept = as_positive.sum().to(distance.dtype)
            weight = (as_positive - as_negative).to(distance.dtype)
        return (self.margin * kept + (weight * distance).sum()) / kept.clamp(min=1)

    def occurrences(self, distance: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        """In how many kept triplets each distance [B, B] stands as anchor to positive, and as anchor to negative."""
        positives = distance.masked_fill(~positive, torch.inf).sort(1).values
        negatives = distance.masked_fill(~negative, torch.inf).sort(1).values
        as_positive = torch.searchsorted(negatives, distance + self.high, right=True)
        as_positive -= torch.searchsorted(negatives, distance + self.low, right=True)
        as_negative = torch.searchsorted(positives, distance - self.low)
        as_negative -= torch.searchsorted(positives, distance - self.high)
        return as_positive.where(positive, 0), as_negative.where(negative, 0)


class _MultiSimilarity(nn.Module):
    def __init__(self, alpha: float, beta: float, base: float, epsilon: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.base = base
        self.epsilon = epsilon

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        points = F.normalize(embeddings)
        similarity = points @ points.T
        positive, negative = self.mine(similarity.detach(), *pairs(labels))
        near = log_one_plus_sum(-self.alpha * (similarity - self.base), positive) / self.alpha
        far = log_one_plus_sum(self.beta * (similarity - self.base), negative) / self.beta
        return (near + far).mean()

    def mine(self, similarity: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        furthest = similarity.masked_fill(~positive, torch.inf).amin(1, keepdim=True)
        nearest = similarity.masked_fill(~negative, -torch.inf).amax(1, keepdim=True)
        hard_positive = positive & (similarity - self.epsilon < nearest)
        hard_negative = negative & (similarity + self.epsilon > furthest)
        return hard_positive, hard_negative
