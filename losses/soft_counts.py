"""What comes before each positive of a query, counted one positive at a time to save memory."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

__all__ = ["listed", "one_by_one"]


def listed(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Where the chosen of each row are, [B, R] to [B, K]; K is the most that a row has, and 1 where none has any.

    And a mask [B, K] of the places that hold a chosen one.
    """
    most = max(1, int(chosen.sum(1).max()))  # the one number that the processor waits for
    there, place = chosen.byte().topk(most, 1)
    return place, there.bool()


def one_by_one(count: Callable[..., tuple[Tensor, ...]], place: Tensor, *given: Any) -> tuple[Tensor, ...]:
    """What `count(*given, nth)`, some tensors [B], gives for every column `nth` [B] of `place` [B, K]: [B, K] each."""
    # Computed again on the way back: kept, what is counted would be B² numbers for each of the K.
    counts = [checkpoint(count, *given, nth, use_reentrant=False, preserve_rng_state=False) for nth in place.unbind(1)]
    return tuple(torch.stack(each, 1) for each in zip(*counts, strict=True))
