"""The ensembles of losses of Zabihzadeh, Alitbi, Mousavirad: members normalised, weights learned, heads kept apart."""

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn import functional as F

from losses.arguments import checked
from losses.batch_checks import exact
from losses.ensembles import Distance, Member, built, by_cosine, compared_by, cut, read
from losses.members import Members, Weighing
from losses.pairwise import distances, shared, unit
from losses.shape import Shape
from losses.tuned import Tuned

__all__ = ["compressed_heads", "diverse_heads", "weighted"]


@checked
def weighted(
    shape: Shape,
    members: Sequence[Member],
    *,
    prior: tuple[float, ...] | None = None,
    eta: Annotated[float, Ge(0)] = 100.0,
) -> nn.Module:
    """WEL, learned weights on one embedding (Zabihzadeh, Alitbi, Mousavirad, MTAP 2023, arXiv 2107.01130).

    Each member is scaled to the mean of all members by its running mean, and weighted by w = c² + 1/(4m), c learned;
    `eta` times 100 times the squared distance of the weights' sum from 1 keeps them near a simplex. `prior`: where the
    weights start, one number per member, each at least a quarter of their mean; the same for all unless given. Raises
    ValueError for a prior that does not fit.

    Trains: a weight per member.
    """
    return _Weighted(built(shape, members, "weighted"), SoftSimplex(len(members), prior, eta))


@checked
def diverse_heads(
    shape: Shape,
    members: Sequence[Member],
    *,
    prior: tuple[float, ...] | None = None,
    eta: Annotated[float, Ge(0)] = 100.0,
    diversity: Annotated[float, Ge(0), Tuned(0.01, 1, log=True)] = 0.1,
) -> nn.Module:
    """WEDL, one head per member (Zabihzadeh, Alitbi, Mousavirad, MTAP 2023, arXiv 2107.01130).

    As `weighted`, but each member has a slice of the embedding of its own, and the mean distance of the L2-normalised
    slices from one another, as far as it is below 2, is added `diversity` times. At test time the slices are put side
    by side, each times the root of its weight, so that squared distances are the weighted sum of the members' own.
    Raises ValueError for an embedding that does not split evenly, or a prior that does not fit.

    Trains: a weight per member.
    """
    heads = _heads(shape, members, "diverse_heads")
    return _DiverseHeads(heads, SoftSimplex(len(heads), prior, eta), diversity, shape.dim // len(heads))


@checked
def compressed_heads(
    shape: Shape,
    members: Sequence[Member],
    *,
    prior: tuple[float, ...] | None = None,
    eta: Annotated[float, Ge(0)] = 100.0,
    diversity: Annotated[float, Ge(0), Tuned(0.01, 1, log=True)] = 0.1,
    size: Annotated[int, Gt(0)] | None = None,
) -> nn.Module:
    """WEDL-C, compressed to a member's size (Zabihzadeh, Alitbi, Mousavirad, MTAP 2023, arXiv 2107.01130).

    `diverse_heads`, with two layers trained beside it that map what it compares at test time to `size` numbers, the
    width of one head unless given, so that the distances in a batch keep their proportions. Only these layers learn
    from that. At test time their output is compared, by Euclidean distance, as it is.

    Trains: a weight per member, and the two layers.
    """
    heads = _heads(shape, members, "compressed_heads")
    width = shape.dim // len(heads)
    return _CompressedHeads(heads, SoftSimplex(len(heads), prior, eta), diversity, width, size or width)


def diversity_loss(heads: Tensor) -> Tensor:
    """How far the mean distance between heads [m, B, width] of the same image stays below 2."""
    first, second = torch.triu_indices(len(heads), len(heads), 1, device=heads.device)
    # The authors' distance adds 1e-6 to every coordinate, which keeps its gradient finite.
    apart: Tensor = torch.linalg.vector_norm(heads[first] - heads[second] + 1e-6, dim=2)
    return F.relu(2 - apart.mean())


def compression_loss(compressed: Tensor, original: Tensor) -> Tensor:
    """B² times the Frobenius distance of the two matrices of squared distances, each divided by its sum."""
    shares = [distances(points, squared=True) for points in (compressed, original)]
    one, other = (share / share.sum().clamp(min=torch.finfo(share.dtype).tiny) for share in shares)
    gap: Tensor = torch.linalg.vector_norm(one - other)
    return len(original) ** 2 * gap


def coefficients(members: int, prior: Sequence[float] | None = None) -> Tensor:
    """c [m] whose weights c² + 1/(4m) are in proportion to the prior, in double precision."""
    share = torch.tensor([1.0] * members if prior is None else list(prior), dtype=torch.float64)
    spare = share / share.sum() - 1 / (4 * members)
    if len(share) != members or not (spare >= 0).all():
        raise ValueError(f"prior needs {members} numbers, each at least a quarter of their mean: change {prior}.")
    return spare.sqrt()


class SoftSimplex(nn.Module):
    """Losses [m] -> scalar: each scaled to the mean of all by its running mean, weighted, and the weights' penalty."""

    means: Tensor
    steps: Tensor

    def __init__(self, members: int, prior: Sequence[float] | None, eta: float) -> None:
        super().__init__()
        self.c = nn.Parameter(coefficients(members, prior).to(torch.get_default_dtype()))
        self.least = 1 / (4 * members)
        self.eta = eta
        self.register_buffer("means", torch.zeros(members))
        self.register_buffer("steps", torch.zeros(()))

    def weights(self) -> Tensor:
        """[m], near a simplex."""
        return self.c.square() + self.least

    def penalty(self) -> Tensor:
        """What weights that do not sum to 1 cost."""
        return 100 * self.eta * (self.weights().sum() - 1).square()

    def weighing(self) -> Weighing:
        """The weights, and what the losses are normalised by before."""
        return Weighing(self.weights(), self.means)

    def forward(self, losses: Tensor) -> Tensor:
        """Normalise, weigh and add; in training the running means take this batch in first."""
        if self.training:
            self.means.lerp_(losses.detach().to(self.means.dtype), 1 / (self.steps + 1))
            self.steps += 1
        # A loss that has been 0 in every batch so far has no scale, and needs none.
        scale = torch.where(self.means > 0, self.means.mean() / self.means, 1)
        total: Tensor = (self.weights() * scale * losses).sum() + self.penalty()
        return total


class _Weighted(nn.Module):
    def __init__(self, members: Members, simplex: SoftSimplex) -> None:
        super().__init__()
        self.members = members
        self.simplex = simplex

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        total: Tensor = self.simplex(self.members(embeddings, labels))
        return total

    def weighing(self) -> Weighing:
        """The learned weights, and what the losses are normalised by before."""
        return self.simplex.weighing()

    @property
    def distance(self) -> Distance:
        """Euclidean; that of a member on its own."""
        return compared_by(self.members[0]) if len(self.members) == 1 else "euclidean"

    def readout(self, embeddings: Tensor) -> Tensor:
        """L2-normalised; a member on its own is read as it reads itself, [N, dim]."""
        return read(self.members[0], embeddings) if len(self.members) == 1 else F.normalize(embeddings)


class _DiverseHeads(nn.Module):
    def __init__(self, members: Members, simplex: SoftSimplex, diversity: float, width: int) -> None:
        super().__init__()
        self.widths = [width] * len(members)
        self.members = members
        self.simplex = simplex
        self.diversity = diversity

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        heads = cut(embeddings, self.widths)
        with exact(embeddings), shared():
            losses = self.members(heads, labels)
            apart = diversity_loss(torch.stack([unit(head) for head in heads])) if len(heads) > 1 else 0.0
            total: Tensor = self.simplex(losses) + self.diversity * apart
        return total

    def weighing(self) -> Weighing:
        """The learned weights, and what the losses are normalised by before."""
        return self.simplex.weighing()

    def readout(self, embeddings: Tensor) -> Tensor:
        """Each slice as its member reads it, times the root of its weight, side by side, norm 1: [N, dim]."""
        heads = cut(embeddings, self.widths)
        roots = self.simplex.weights().sqrt()
        parts = [root * read(m, head) for root, m, head in zip(roots, self.members, heads, strict=True)]
        return F.normalize(torch.cat(parts, 1))


class _Compressor(nn.Sequential):
    learns_as_head = True


class _CompressedHeads(nn.Module):
    def __init__(self, members: Members, simplex: SoftSimplex, diversity: float, width: int, size: int) -> None:
        super().__init__()
        self.heads = _DiverseHeads(members, simplex, diversity, width)
        # A member that is an ensemble may read its head as more or fewer numbers than the head has.
        whole = self.heads.readout(torch.zeros(1, len(members) * width)).shape[1]
        self.compressor = _Compressor(nn.Linear(whole, 2 * width), nn.Tanh(), nn.Linear(2 * width, size))

    @property
    def members(self) -> Members:
        """Those of the heads."""
        return self.heads.members

    def weighing(self) -> Weighing:
        """That of the heads."""
        return self.heads.weighing()

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        heads: Tensor = self.heads(embeddings, labels)
        with exact(embeddings):
            whole = self.heads.readout(embeddings.detach()).detach().to(heads.dtype)
            return heads + compression_loss(self.compressor(whole), whole)

    def readout(self, embeddings: Tensor) -> Tensor:
        """The compressed embedding, [N, size]."""
        compressed: Tensor = self.compressor(self.heads.readout(embeddings))
        return compressed


def _heads(shape: Shape, members: Sequence[Member], name: str) -> Members:
    """The members, each on an equal share of the embedding."""
    width, rest = divmod(shape.dim, max(len(members), 1))
    if rest or not width:
        raise ValueError(
            f"{name} cannot cut {shape.dim} dimensions into {len(members)} equal heads: change recipe.dim."
        )
    return by_cosine(built(shape._replace(dim=width), members, name), name)
