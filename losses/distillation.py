"""An embedding that learns, beside its loss, the similarities that wider embeddings of the same images have."""

from collections.abc import Sequence
from itertools import cycle
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn import functional as F

from losses.arguments import checked
from losses.batch_checks import exact, whole_labels
from losses.ensembles import Member, by_cosine, read
from losses.members import Members
from losses.pairwise import constant, shared, similarities, single
from losses.shape import Shape
from losses.tuned import Tuned

__all__ = ["self_distillation"]


@checked
def self_distillation(
    shape: Shape,
    members: Sequence[Member],
    *,
    size: Annotated[int, Gt(0)] | None = None,
    targets: tuple[Annotated[int, Gt(0)], ...] = (512, 1024, 1536, 2048),
    # Around the authors' 50.
    weight: Annotated[float, Ge(0), Tuned(5, 100, log=True)] = 50.0,
    feature_weight: Annotated[float, Ge(0)] = 50.0,
    delay: Annotated[int, Ge(0)] = 1000,
    temperature: Annotated[float, Gt(0)] = 1.0,
) -> nn.Module:
    """S2SD, self-distillation of similarities (Roth, Milbich, Ommer, Cohen, Ghassemi, ICML 2021, arXiv 2009.08348).

    What it is given are features, those of a backbone without a head (`head = "none"`). A linear layer makes the
    embedding of `size` dimensions of them (128 and 512 in the paper; None: as many as there are), which is what is
    compared at test time; for each of the `targets` two layers with ReLU between make a wider one. All are trained by a
    loss of their own: half of the embedding's loss, and half of the mean over the targets. Besides, each row of the
    embedding's cosine similarities, over the `temperature` a softmax, is to be that of each target: the
    Kullback-Leibler divergence, times the temperature squared, mean over rows and targets, times `weight`. After
    `delay` batches also that of the features themselves, times `feature_weight`. The targets and the features learn
    nothing from that.

    The first member is the loss of the embedding; the others, in turn, are those of the targets, and without others it
    is theirs too, each with parameters of its own. Where there are more of them than targets, some targets have several
    losses. The authors normalise embeddings before their losses, and pool features by mean and maximum together; here a
    member sees them as they come from the layer, and the features are the backbone's. Their runs on Stanford Online
    Products have a `feature_weight` of 5. Raises ValueError for no member or no target.

    Trains: the layers, which learn at the rate of a head, and the members' own.
    """
    if not members or not targets:
        raise ValueError("self_distillation has no member or no target to train: name one or more of each.")
    size = shape.dim if size is None else size
    base = members[0](shape._replace(dim=size))
    others, named = list(members[1:]) or [members[0]], len(members) - 1
    taught = [
        others[n % len(others)](shape._replace(dim=targets[n % len(targets)]))
        for n in range(max(len(targets), len(others)))
    ]
    kept = by_cosine(Members([base, *taught[:named]]), "self_distillation")
    layers = _Layers(shape.dim, size, targets)
    weights = {"weight": weight, "feature_weight": feature_weight, "temperature": temperature}
    return _SelfDistillation(kept, nn.ModuleList(taught[named:]), layers, delay=delay, **weights)


class _Layers(nn.Module):
    learns_as_head = True

    def __init__(self, features: int, size: int, targets: Sequence[int]) -> None:
        super().__init__()
        self.base = nn.Linear(features, size)
        self.targets = nn.ModuleList(
            nn.Sequential(nn.Linear(features, dim), nn.ReLU(), nn.Linear(dim, dim)) for dim in targets
        )


class _SelfDistillation(nn.Module):
    batches: Tensor

    def __init__(
        self,
        members: Members,
        unnamed: nn.ModuleList,
        layers: _Layers,
        *,
        weight: float,
        feature_weight: float,
        delay: int,
        temperature: float,
    ) -> None:
        super().__init__()
        self.members = members
        self.unnamed = unnamed
        self.layers = layers
        self.weight = weight
        self.feature_weight = feature_weight
        self.delay = delay
        self.temperature = temperature
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        labels = whole_labels(embeddings, labels, dim=self.layers.base.in_features)
        with exact(embeddings), shared():
            features = single(embeddings)
            base = self.layers.base(features)
            wide = [layer(features) for layer in self.layers.targets]
            losses = zip(self._losses(), cycle(wide), strict=False)
            own, *theirs = self.members[0](base, labels), *(loss(part, labels) for loss, part in losses)
            self.members.note(torch.stack([own, *theirs][: len(self.members)]))
            apart = torch.stack([divergence(base, part, temperature=self.temperature) for part in wide]).mean()
            total: Tensor = (own + torch.stack(theirs).mean()) / 2 + self.weight * apart
            if self.feature_weight:
                begun = self.feature_weight * (self.batches >= self.delay)
                total = total + begun * divergence(base, features, temperature=self.temperature)
            self.batches += self.training
        return total

    def _losses(self) -> list[nn.Module]:
        """Of the targets, in turn."""
        return [*list(self.members)[1:], *self.unnamed]

    def readout(self, embeddings: Tensor) -> Tensor:
        """The embedding as the first member reads it, [N, size]."""
        return read(self.members[0], self.layers.base(embeddings))


def divergence(learner: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """How far similarities within the learner [B, dim] are from those within the teacher [B, width], which is constant.

    The Kullback-Leibler divergence of rows of cosine similarities, over the temperature a softmax; their mean.
    """
    ours = similarities(learner, None) / temperature
    theirs = similarities(constant(teacher), None) / temperature
    found = F.kl_div(ours.log_softmax(1), theirs.log_softmax(1), reduction="batchmean", log_target=True)
    return temperature**2 * found
