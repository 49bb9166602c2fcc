"""Test time: images to the embeddings that are compared."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.job.batches import Reader, seen
from losses.ensembles import read as compared

__all__ = ["embed"]

AT_A_TIME = 256
"""Images."""


@torch.inference_mode()
def embed(
    model: nn.Module,
    objective: nn.Module,
    read: Reader,
    rows: Tensor,
    *,
    crop: int | None = None,
    between: Callable[[], None] = lambda: None,
) -> Tensor:
    """Embeddings as they are compared, float32 [rows, dim] on the device.

    The objective's `readout` decides, where it has one; else they are L2-normalised.

    Args:
        model: images float [B, C, H, W] in [0, 1], or vectors [B, width] -> embeddings.
        objective: what trained the model.
        read: gives the images of rows.
        rows: which images, int64 [rows].
        crop: side of the middle square that the model sees, in pixels; None: all of the image.
        between: called before every batch.
    """
    model.eval()
    objective.eval()
    found = []
    for chosen in torch.split(rows, AT_A_TIME):
        between()
        found.append(compared(objective, model(seen(read(chosen), crop)).float()))
    return torch.cat(found)
