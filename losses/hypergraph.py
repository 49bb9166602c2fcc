"""A loss that spreads what the images of a batch say of one another over a hypergraph of the classes in it."""

from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn import functional as F

from losses.arguments import checked
from losses.class_softmax import linear_scores
from losses.module import Loss
from losses.pairwise import single, unit
from losses.shape import Shape
from losses.tuned import Tuned

__all__ = ["hist"]


@checked
def hist(
    shape: Shape,
    *,
    # The authors' own for three datasets are 32, 32 and 16; 1.1, 0.9 and 2.
    tau: Annotated[float, Gt(0), Tuned(8, 64, log=True)] = 32.0,
    alpha: Annotated[float, Gt(0), Tuned(0.5, 3, log=True)] = 1.1,
    classification: Annotated[float, Ge(0)] = 1.0,
    hidden: Annotated[int, Ge(1)] = 512,
) -> nn.Module:
    """HIST, hypergraph-induced semantic tuplet loss (Lim, Yun, Park, Choi, CVPR 2022).

    Each class has a normal distribution with a learned mean, L2-normalised, and learned variances between 1 and e⁶.
    d is the squared distance of an L2-normalised embedding from a mean, each coordinate divided by its variance.
    First term: cross-entropy of -`tau` · d over all training classes. Second term, times `classification` (lambda_s in
    the paper): every class in the batch is a hyperedge that holds its own images with weight 1 and the others with
    exp(-`alpha` · d); a network of two layers, with `hidden` units and a batch norm between, classifies the embeddings
    as given, and before and after its second layer each image's values are averaged over the hyperedges it is in.

    Defaults as for CUB-200-2011 with 512 dimensions; `tau` and `alpha` are 32 and 0.9 for Cars196, 16 and 2 for
    Stanford Online Products. The authors' trunks end in a layer norm; their code leaves out images whose own class's
    probability rounds to 0, and does not work with two classes: here no image is left out, and two classes are fine.

    Trains: a mean and log-variances per class, and the hypergraph network.
    """
    means, log_vars = (nn.Parameter(torch.empty(shape.classes, shape.dim)) for _ in range(2))
    for each in (means, log_vars):
        nn.init.kaiming_normal_(each, mode="fan_out")
    return Loss(
        shape,
        _hist,
        classes=shape.classes,
        means=means,
        log_vars=log_vars,
        network=HypergraphNetwork(shape.dim, hidden, shape.classes),
        tau=tau,
        alpha=alpha,
        classification=classification,
    )


def class_distances(embeddings: Tensor, means: Tensor, log_vars: Tensor) -> Tensor:
    """Squared distances [B, C] of embeddings [B, dim] from the means of the classes, scaled by their variances.

    Args:
        embeddings: L2-normalised here.
        means: [C, dim], L2-normalised here.
        log_vars: [C, dim]; below 0 they count as 0, above 6 as 6.
    """
    points, centres, precision = unit(embeddings), unit(means), (-F.relu6(log_vars)).exp()
    # Multiplied out: the differences themselves would be B · C · dim numbers.
    weighted = centres * precision
    return points.square() @ precision.T - 2 * points @ weighted.T + (centres * weighted).sum(1)


def incidence(distance: Tensor, labels: Tensor, *, alpha: float) -> Tensor:
    """How far each image belongs to the hyperedge of each class [B, C]; 0 for the classes that the batch lacks."""
    own = labels[:, None] == torch.arange(distance.shape[1], device=labels.device)
    return (-alpha * distance).exp().masked_fill(own, 1).masked_fill(~own.any(0), 0)


def propagation(member: Tensor) -> Tensor:
    """The matrix [B, B] that spreads values of images over the hyperedges they share, `member` [B, C]."""
    size = member.sum(0)
    scaled = member * member.sum(1, keepdim=True).rsqrt()
    return (scaled / size.masked_fill(size == 0, 1)) @ scaled.T


class HypergraphNetwork(nn.Module):
    """(features [B, dim], propagation [B, B]) -> logits [B, classes], of two layers."""

    def __init__(self, dim: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.theta1 = nn.Linear(dim, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.theta2 = nn.Linear(hidden, classes)

    def forward(self, features: Tensor, spread: Tensor) -> Tensor:
        """The logits; the statistics of the batch norm are always those of this batch."""
        first = spread @ linear_scores(features, *self.theta1.parameters())
        second = F.leaky_relu(self._normalized(first), 0.1)
        return spread @ linear_scores(second, *self.theta2.parameters())

    def _normalized(self, rows: Tensor) -> Tensor:
        # By hand: torch refuses a batch of one image, and half-precision parameters of single-precision rows.
        mean, variance = rows.mean(0), rows.var(0, correction=0)
        self._note(mean.detach(), variance.detach(), len(rows))
        normalized = (rows - mean) * (variance + self.norm.eps).rsqrt()
        return normalized * single(self.norm.weight) + single(self.norm.bias)

    def _note(self, mean: Tensor, variance: Tensor, images: int) -> None:
        """The running statistics, which nothing here reads: for those who use the network after training."""
        if not self.training or images < 2:
            return
        for name, now in (("running_mean", mean), ("running_var", variance * images / (images - 1))):
            running: Tensor = getattr(self.norm, name)
            running.lerp_(now.to(running), 0.1)


def hist_losses(
    embeddings: Tensor,
    labels: Tensor,
    *,
    means: Tensor,
    log_vars: Tensor,
    network: nn.Module,
    tau: float = 32.0,
    alpha: float = 1.1,
) -> tuple[Tensor, Tensor]:
    """The two terms of `hist`, before the second is weighed; embeddings [B, dim], labels [B], others as there."""
    distance = class_distances(embeddings, means, log_vars)
    spread = propagation(incidence(distance, labels, alpha=alpha))
    return F.cross_entropy(-tau * distance, labels), F.cross_entropy(network(embeddings, spread), labels)


def _hist(
    embeddings: Tensor,
    labels: Tensor,
    *,
    means: Tensor,
    log_vars: Tensor,
    network: HypergraphNetwork,
    tau: float,
    alpha: float,
    classification: float,
) -> Tensor:
    near, agreed = hist_losses(
        embeddings, labels, means=means, log_vars=log_vars, network=network, tau=tau, alpha=alpha
    )
    return near + classification * agreed
