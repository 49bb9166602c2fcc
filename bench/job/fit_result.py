"""What training one model of a job leaves behind."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from bench.job.train import Snapshot
from bench.store.row import MemberEpoch
from losses.ensembles import Distance

__all__ = ["Fitted"]


class Fitted(NamedTuple):
    """What one model leaves behind."""

    history: tuple[dict[str, float], ...]
    """Of every epoch what `train.Epoch` says, and where it was looked at validation_NAME and test_NAME."""
    members: tuple[MemberEpoch, ...]
    snapshot: Snapshot
    """The epoch that counts."""
    parameters: int
    weights_sha: str | None
    """SHA-256 of the trunk's initial weights, where they come from elsewhere."""
    distance: Distance = "euclidean"
    """By which its embeddings are compared."""

    @property
    def diverged(self) -> bool:
        """Whether the last epoch's loss, or what it was looked at with, was not finite."""
        return bool(self.history) and not all(math.isfinite(value) for value in self.history[-1].values())

    def state_dict(self) -> dict[str, Any]:
        """All of it as tensors, numbers and text."""
        members = tuple(entry._asdict() for entry in self.members)
        return {**self._asdict(), "members": members, "snapshot": self.snapshot._asdict()}

    @classmethod
    def of(cls, state: Mapping[str, Any], device: torch.device) -> "Fitted":
        """What `state_dict` gave, with its tensors on the device."""
        members = tuple(MemberEpoch(**entry) for entry in state["members"])
        return cls(**{**state, "members": members, "snapshot": Snapshot.of(state["snapshot"], device)})
