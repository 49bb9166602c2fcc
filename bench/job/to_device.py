"""Tensors on their way from the processor to what trains."""

import torch
from torch import Tensor

__all__ = ["sent"]


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the processor on the device. A GPU gets it in its turn: the processor does not wait until it has it.

    So the processor can be steps ahead of the GPU, which otherwise stands still while the next step is prepared.
    """
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
