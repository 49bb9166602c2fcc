"""Tensors on their way from the processor to what trains."""

import torch
from torch import Tensor

__all__ = ["sent", "uniform"]


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the processor on the device. A GPU gets it in its turn: the processor does not wait until it has it.

    So the processor can be steps ahead of the GPU, which otherwise stands still while the next step is prepared.
    """
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def uniform(*size: int, device: torch.device) -> Tensor:
    """Numbers from 0 to 1, in single precision, drawn on the processor: the same ones on every device."""
    return sent(torch.rand(size, dtype=torch.float32), device)
