"""Ensembles from multi-task learning: how much each loss counts, or which way it pulls, follows from the losses."""

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from losses.arguments import checked
from losses.batch_checks import check_embeddings, exact
from losses.ensembles import Member, alone, built
from losses.members import Members, Weighing
from losses.pairwise import shared, single
from losses.shape import Shape
from losses.to_device import uniform
from losses.tuned import Tuned

__all__ = ["conflict_free", "gradient_norm", "uncertainty"]

LEAST = -10.0
"""Smallest log σ²: a loss that stays 0 would drive it to minus infinity, and the weight 1/(2σ²) with it."""


@checked
def uncertainty(shape: Shape, members: Sequence[Member]) -> nn.Module:
    """Uncertainty weighting (Kendall, Gal, Cipolla, CVPR 2018, arXiv 1705.07115).

    The sum of exp(-s) · loss / 2 + s / 2 over the members, s = log σ² learned for each, 0 at first. This is the paper's
    form for regression; that for classification has exp(-s) · loss. Once s is learned the two weigh alike, by one over
    twice the loss, but here σ² is then the loss itself. It is meant for losses that do not fall below 0; s is kept at
    -10 or above, so that a loss that stays 0 has a finite weight. One member alone is that member, not weighted.

    Trains: a weight per member.
    """
    parts = built(shape, members, "uncertainty")
    return alone(parts) if len(parts) == 1 else _Uncertainty(parts)


@checked
def gradient_norm(
    shape: Shape, members: Sequence[Member], *, alpha: Annotated[float, Ge(0), Tuned(0.1, 3)] = 1.5
) -> nn.Module:
    """GradNorm (Chen, Badrinarayanan, Lee, Rabinovich, ICML 2018, arXiv 1711.02257).

    Weighted sum of losses whose weights learn to bring the norm G of each member's weighted gradient to the mean of all
    times its relative inverse training rate to the power `alpha`: the larger `alpha`, the more a member that has fallen
    less than the others pulls. The rate compares a loss with that of the first batch where it was above 0; until then
    it counts as not having fallen. The gradient is that with respect to the embeddings, where the paper takes the
    weights of the last layer that the members share. The weights are a softmax, times the number of members, of what is
    learned, so that they keep their sum without being renormalised after a step. They learn from nothing but the gap
    between norms and targets, and nothing else learns from that; the value is the weighted sum alone.

    Trains: a weight per member.
    """
    parts = built(shape, members, "gradient_norm")
    return alone(parts) if len(parts) == 1 else _GradientNorm(parts, alpha)


@checked
def conflict_free(shape: Shape, members: Sequence[Member]) -> nn.Module:
    """PCGrad, gradient surgery (Yu, Kumar, Gupta, Levine, Hausman, Finn, NeurIPS 2020, arXiv 2001.06782).

    Sum of losses. Each member's gradient is projected, for the others in random order, onto the plane normal to the
    other's gradient wherever the two conflict, their inner product being negative; then all are summed. The gradient is
    that of the batch's embeddings, as one vector, where the paper takes that of all shared parameters: it is what they
    learn from, but two that conflict in one place need not in the other. A member's own parameters learn from its own
    loss as ever. The value is the plain sum, so that its derivative is not what is trained by.
    """
    parts = built(shape, members, "conflict_free")
    return alone(parts) if len(parts) == 1 else _ConflictFree(parts)


def norm_gap(weights: Tensor, norms: Tensor, ratios: Tensor, *, alpha: float) -> Tensor:
    """GradNorm's loss of the weights [m]: how far the weighted norms are from their targets, which are constant.

    Args:
        weights: [m].
        norms: [m], of the gradients of the losses before they are weighted.
        ratios: [m], each loss divided by what it was at first, 0 or more.
        alpha: power of the relative inverse training rate.
    """
    sizes = weights * norms
    rates = ratios / ratios.mean().clamp(min=torch.finfo(ratios.dtype).tiny)
    return (sizes - (sizes.mean() * rates.pow(alpha)).detach()).abs().sum()


def surgery(products: Tensor, orders: Tensor) -> Tensor:
    """PCGrad on inner products alone: row i holds how much of every gradient is in the i-th after its projections.

    Args:
        products: [m, m], inner products of the gradients with one another.
        orders: [m, m], in row i the order in which gradient i meets all m; itself is passed over.
    """
    everyone = torch.arange(len(products), device=products.device)
    squares = products.diagonal().clamp(min=torch.finfo(products.dtype).tiny)
    mix = torch.eye(len(products), dtype=products.dtype, device=products.device)
    for other in orders.T:
        along = (mix * products[other]).sum(1).clamp(max=0) / squares[other]
        mix[everyone, other] -= along.masked_fill(other == everyone, 0)
    return mix


Own = list[tuple[Tensor, Tensor]]
"""A member's own parameters, each with the gradient of that member's loss."""


class _Uncertainty(nn.Module):
    def __init__(self, members: Members) -> None:
        super().__init__()
        self.members = members
        self.log_variances = nn.Parameter(torch.zeros(len(members)))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        if self.training:
            self.log_variances.data.clamp_(min=LEAST)
        losses = self.members(embeddings, labels)
        total: Tensor = (torch.exp(-self.log_variances) * losses + self.log_variances).sum() / 2
        return total

    def weighing(self) -> Weighing:
        """Half the inverse variances."""
        return Weighing(torch.exp(-self.log_variances.clamp(min=LEAST)) / 2)


class _GradientNorm(nn.Module):
    first: Tensor

    def __init__(self, members: Members, alpha: float) -> None:
        super().__init__()
        self.members = members
        self.logits = nn.Parameter(torch.zeros(len(members)))
        self.alpha = alpha
        self.register_buffer("first", torch.zeros(len(members)))

    def weights(self) -> Tensor:
        """[m], above 0, of sum m."""
        return len(self.members) * self.logits.softmax(0)

    def weighing(self) -> Weighing:
        """The learned weights."""
        return Weighing(self.weights())

    def ratios(self, losses: Tensor) -> Tensor:
        """Each loss divided by what it was at first; 1 for one that has been 0 so far."""
        if self.training:
            self.first.copy_(torch.where(self.first > 0, self.first, losses.clamp(min=0)))
        return torch.where(self.first > 0, losses / self.first, 1).clamp(min=0)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        with exact(embeddings):
            return self.taught(*_lessons(self.members, embeddings, labels), embeddings)

    def taught(self, losses: Tensor, gradients: Tensor, own: list[Own], embeddings: Tensor) -> Tensor:
        """The weighted sum, from which everything learns what it should."""
        ratios, weights = self.ratios(losses), self.weights()
        shares = weights.detach()
        value = (shares * losses).sum()
        if not torch.is_grad_enabled():
            return value
        gap = norm_gap(weights, torch.linalg.vector_norm(gradients, dim=1), ratios, alpha=self.alpha)
        taught = [(tensor, share * g) for share, pairs in zip(shares, own, strict=True) for tensor, g in pairs]
        shared = (shares.to(gradients.dtype) @ gradients).view_as(embeddings)
        return _taught(value, [(embeddings, shared), *taught]) + (gap - gap.detach())


class _ConflictFree(nn.Module):
    def __init__(self, members: Members) -> None:
        super().__init__()
        self.members = members

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        with exact(embeddings):
            return self.taught(*_lessons(self.members, embeddings, labels), embeddings)

    def taught(self, losses: Tensor, gradients: Tensor, own: list[Own], embeddings: Tensor) -> Tensor:
        """The sum, from which everything learns what it should."""
        if not torch.is_grad_enabled():
            return losses.sum()
        orders = uniform(len(losses), len(losses), device=losses.device).argsort(1)
        shared = (surgery(gradients @ gradients.T, orders).sum(0) @ gradients).view_as(embeddings)
        return _taught(losses.sum(), [(embeddings, shared), *(pair for pairs in own for pair in pairs)])


def _lessons(members: Members, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, list[Own]]:
    """Losses [m], their gradients with respect to the embeddings [m, B · dim], and to each member's own parameters.

    Where no gradients are wanted there are only losses.
    """
    if not torch.is_grad_enabled():
        losses = members(embeddings, labels)
        return losses, losses.new_zeros(len(losses), 0), []
    check_embeddings(embeddings)
    leaf = embeddings.detach().requires_grad_()
    with shared():
        lessons = [_lesson(member, leaf, labels) for member in members]
    losses = torch.stack([loss for loss, _, _ in lessons])
    members.note(losses)
    gradients = torch.stack([single(gradient).flatten() for _, gradient, _ in lessons])
    return losses, gradients, [own for _, _, own in lessons]


def _lesson(member: nn.Module, leaf: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Own]:
    """One member's; what is its own in the graph is freed at once, what it shares is kept for the others."""
    own = [parameter for parameter in member.parameters() if parameter.requires_grad]
    loss = member(leaf, labels)
    wanted = [leaf, *own]
    first, *rest = torch.autograd.grad(loss, wanted, retain_graph=True, allow_unused=True, materialize_grads=True)
    return loss.detach(), first, list(zip(own, rest, strict=True))


def _taught(value: Tensor, taught: Own) -> Tensor:
    """The value, whose gradient with respect to each tensor is the one that stands beside it."""
    carrier = torch.stack([(tensor * gradient).sum(dtype=value.dtype) for tensor, gradient in taught]).sum()
    return value + (carrier - carrier.detach())
