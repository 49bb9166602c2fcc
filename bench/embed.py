"""Test time: images to the embeddings that are compared."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.batches import reader
from losses.ensembles import read

__all__ = ["embed"]


@torch.inference_mode()
def embed(
    model: nn.Module,
    objective: nn.Module,
    images: NDArray[np.uint8],
    device: torch.device,
    *,
    batch: int = 256,
) -> Tensor:
    """Embeddings as they are compared, float32 [N, dim] on the device.

    The objective's `readout` decides, where it has one; else they are L2-normalised.

    Args:
        model: images float [B, C, H, W] in [0, 1] -> embeddings.
        objective: what trained the model.
        images: uint8 [N, H, W, C].
        device: where both lie.
        batch: images at a time.
    """
    model.eval()
    objective.eval()
    pixels = reader(images, device)
    chunks = torch.split(torch.arange(len(images)), batch)
    return torch.cat([read(objective, model(pixels(chosen).float().div_(255)).float()) for chosen in chunks])
