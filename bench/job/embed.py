"""Test time: images to the embeddings that are compared."""

import torch
from torch import Tensor, nn

from bench.job.batches import Reader, seen
from losses.ensembles import read as compared

__all__ = ["embed"]


@torch.inference_mode()
def embed(
    model: nn.Module, objective: nn.Module, read: Reader, rows: Tensor, *, crop: int | None = None, batch: int = 256
) -> Tensor:
    """Embeddings as they are compared, float32 [rows, dim] on the device.

    The objective's `readout` decides, where it has one; else they are L2-normalised.

    Args:
        model: images float [B, C, H, W] in [0, 1], or vectors [B, width] -> embeddings.
        objective: what trained the model.
        read: gives the images of rows.
        rows: which images, int64 [rows].
        crop: side of the middle square that the model sees, in pixels; None: all of the image.
        batch: images at a time.
    """
    model.eval()
    objective.eval()
    chunks = torch.split(rows, batch)
    return torch.cat([compared(objective, model(seen(read(chosen), crop)).float()) for chosen in chunks])
