"""Losses over the triplets of a batch: an anchor, an image of its class, an image of another."""

from typing import Annotated, Literal

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.nn import functional as F

from losses.matrix import References, distances, pairs, single, unit
from losses.shape import Shape

__all__ = ["triplet"]


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

    Needs: P × K batches.
    """
    return _Triplet(margin, mining, margin if band is None else min(band, margin), squared, normalize)


class _Triplet(nn.Module):
    def __init__(self, margin: float, mining: str, band: float, squared: bool, normalize: bool) -> None:
        super().__init__()
        self.margin = margin
        self.mining = mining
        self.low = 0.0 if mining == "semihard" else -torch.inf
        self.high = 0.0 if mining == "hard" else band
        self.squared = squared
        self.normalize = normalize

    def forward(self, embeddings: Tensor, labels: Tensor, references: References | None = None) -> Tensor:
        scaled = unit if self.normalize else single
        points = scaled(embeddings)
        others = scaled(references.embeddings) if references else points
        distance = distances(points, others, squared=self.squared)
        if self.mining == "batch_hard":
            return self.batch_hard(distance, *pairs(labels, references))
        return self.mean(distance, *pairs(labels, references))

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
        """In how many kept triplets each distance [B, R] stands as anchor to positive, and as anchor to negative."""
        positives = distance.masked_fill(~positive, torch.inf).sort(1).values
        negatives = distance.masked_fill(~negative, torch.inf).sort(1).values
        as_positive = torch.searchsorted(negatives, distance + self.high, right=True)
        as_positive -= torch.searchsorted(negatives, distance + self.low, right=True)
        as_negative = torch.searchsorted(positives, distance - self.low)
        as_negative -= torch.searchsorted(positives, distance - self.high)
        return as_positive.where(positive, 0), as_negative.where(negative, 0)
