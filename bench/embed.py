"""Test time: images to the embeddings that are compared."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.batches import reader

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
    readout: Callable[[Tensor], Tensor] = getattr(objective, "readout", F.normalize)
    read = reader(images, device)
    chunks = torch.split(torch.arange(len(images)), batch)
    return torch.cat([readout(model(read(chosen).float().div_(255)).float()) for chosen in chunks])
