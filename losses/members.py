"""The members of an ensemble that train together, and what each of them did: value, weight and running mean."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from losses.pairwise import shared

__all__ = ["Members", "Share", "Weighing", "shares"]


class Share(NamedTuple):
    """What one member did since it was last asked about."""

    path: tuple[int, ...]
    """Its places in the lists of members as they were given, of the outermost ensemble first."""
    value: float
    """Mean of its own loss over the batches trained on since; nan where there were none."""
    weight: float | None
    """What its loss is multiplied by now, running mean aside; None where the ensemble has no such number."""
    running_mean: float | None
    """What its loss is normalised by, 0 before the first batch; None where the ensemble does not do that."""


class Weighing(NamedTuple):
    """How an ensemble counts its members at this moment: the answer of its method `weighing`."""

    weights: Tensor | Sequence[float] | None = None
    """[m]."""
    running_means: Tensor | None = None
    """[m]."""


class Members(nn.ModuleList):
    """Embeddings and labels -> the losses of all members [m]; in training their values are kept until drained."""

    def __init__(self, modules: Iterable[nn.Module] = (), places: Sequence[int] | None = None) -> None:
        """Members and, where some that were named are left out, the place of each in the list of those named."""
        super().__init__(modules)
        self.places = tuple(range(len(self)) if places is None else places)
        self._sum: Tensor | None = None
        self._batches: Tensor | None = None

    def forward(self, parts: Tensor | Sequence[Tensor], labels: Tensor) -> Tensor:
        """Losses [m] of embeddings [B, dim], or of one part [B, width] per member, with labels [B]."""
        each = [parts] * len(self) if isinstance(parts, Tensor) else parts
        with shared() if len(self) > 1 else nullcontext():
            losses = torch.stack([member(part, labels) for member, part in zip(self, each, strict=True)])
        self.note(losses)
        return losses

    def note(self, losses: Tensor) -> None:
        """Keep the values of a batch [m], in training; on their device, so that nothing waits."""
        if self.training:
            values = losses.detach()
            # A copy: what was returned may be written into.
            self._sum = values.clone() if self._sum is None else self._sum.to(values) + values
            # Counted in a tensor: each number of Python would be a graph of its own, once compiled.
            one = torch.ones_like(values[:1])
            self._batches = one if self._batches is None else self._batches.to(values) + one

    def drain(self) -> Tensor | None:
        """Mean values [m] over the batches trained on since this was last asked; None where there were none."""
        mean = None if self._sum is None or self._batches is None else self._sum / self._batches
        self._sum = self._batches = None
        return mean

    def get_extra_state(self) -> Tensor:
        """What `state_dict` holds beside the members: sums of their values and the number of batches; or nothing."""
        return torch.empty(0) if self._sum is None or self._batches is None else torch.cat([self._sum, self._batches])

    def set_extra_state(self, state: Tensor) -> None:
        """Puts back what `get_extra_state` gave."""
        self._sum, self._batches = (state[:-1].clone(), state[-1:].clone()) if len(state) else (None, None)


@torch.no_grad()
def shares(objective: nn.Module) -> list[Share]:
    """What every member of an objective did, and forget it: an ensemble before its own members; [] of a plain loss."""
    return _inside(objective, ())


def _inside(objective: nn.Module, above: tuple[int, ...]) -> list[Share]:
    members = getattr(objective, "members", None)
    if not isinstance(members, Members):
        return []
    weighing: Callable[[], Weighing] = getattr(objective, "weighing", Weighing)
    found = []
    for place, member, *numbers in zip(members.places, members, *_columns(members, weighing()), strict=True):
        path = (*above, place)
        found += [Share(path, *numbers), *_inside(member, path)]
    return found


def _columns(members: Members, weighing: Weighing) -> list[Sequence[float | None]]:
    """Mean values, weights and running means of the members; what is on a device is copied from it at once."""
    mean = members.drain()
    columns = [[torch.nan] * len(members) if mean is None else mean, *weighing]
    tensors = [column for column in columns if isinstance(column, Tensor)]
    copied = iter(torch.stack([tensor.to(tensors[0].device) for tensor in tensors]).tolist() if tensors else [])
    return [next(copied) if isinstance(c, Tensor) else [None] * len(members) if c is None else c for c in columns]
