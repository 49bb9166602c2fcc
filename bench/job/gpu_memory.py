"""What a process may still take of a GPU's memory."""

import torch

__all__ = ["room"]


def room(device: torch.device) -> int:
    """Bytes: of what is free, as far as the process is bound to a share."""
    free, total = torch.cuda.mem_get_info(device)
    held, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    allowed = int(torch.cuda.get_per_process_memory_fraction(device) * total)
    return min(free + reserved, allowed) - held
