"""One generator a purpose, seeded from (job seed, purpose), so that every loss sees the same batches."""

import hashlib

import torch

__all__ = ["derive", "generator"]


def derive(seed: int, purpose: str) -> int:
    """A seed of 63 bits for one purpose of a job."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8], "big") >> 1


def generator(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator for one purpose of a job; every device then sees the same draws."""
    return torch.Generator().manual_seed(derive(seed, purpose))
