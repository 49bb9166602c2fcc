"""One seed per purpose, from (job seed, purpose), so that every loss sees the same batches."""

import hashlib

__all__ = ["derive"]


def derive(seed: int, purpose: str) -> int:
    """A seed of 63 bits for one purpose of a job."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8], "big") >> 1
